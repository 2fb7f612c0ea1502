"""The head's pod and a worker's: what is in them, and what follows from the spec."""

from __future__ import annotations

import json

import pytest

from manta.pod.places import Places
from manta_operator.builders import labels, variables
from manta_operator.builders.overlay import InvalidTemplateError
from manta_operator.builders.pods import HEAD_CONTAINERS, WorkerPods, head_pod, worker_pod
from manta_operator.builders.revision import revision
from manta_operator.kube import ownership
from tests.unit.operator.builders.restricted import breaches
from tests.unit.operator.clusters import BUILD, FULL, UID, cluster


def workers(parsed, slot=0):
    """One worker of each group."""
    return [worker_pod(parsed, group, slot, BUILD) for group in parsed.spec.worker_groups]


def container(pod, name):
    [found] = [one for one in pod["spec"]["containers"] if one["name"] == name]
    return found


def variable(pod, name, of="raylet"):
    [found] = [one for one in container(pod, of)["env"] if one["name"] == name]
    return found["value"]


@pytest.fixture(params=[(), FULL], ids=["minimal", "full"])
def parsed(request):
    return cluster(*request.param)


def test_the_head_has_four_containers_and_a_worker_one():
    """Each door apart from the others, and all apart from user code."""
    parsed = cluster()
    assert [one["name"] for one in head_pod(parsed, BUILD)["spec"]["containers"]] == list(HEAD_CONTAINERS)
    [worker] = workers(parsed)
    assert [one["name"] for one in worker["spec"]["containers"]] == ["raylet"]
    for pod in (head_pod(parsed, BUILD), worker):
        for one in pod["spec"]["containers"]:
            assert one["command"] == ["python", "-P", "-m", "manta.pod", one["name"]]


def test_pods_keep_the_restricted_standard(parsed):
    """Whatever enforces it lets them through; and they have less than it allows: no file system to write to, no token."""
    for pod in (head_pod(parsed, BUILD), *workers(parsed)):
        assert breaches(pod) == []
        assert pod["spec"]["automountServiceAccountToken"] is False
        for one in pod["spec"]["containers"]:
            if one["name"] in HEAD_CONTAINERS:
                assert one["securityContext"]["readOnlyRootFilesystem"] is True


def test_ports_of_a_pod_differ():
    """Its containers share one network."""
    ports = [port for one in head_pod(cluster(), BUILD)["spec"]["containers"] for port in one["ports"]]
    assert len({port["containerPort"] for port in ports}) == len({port["name"] for port in ports}) == len(ports) == 8
    assert all(len(port["name"]) <= 15 for port in ports)
    assert {port["name"]: port["containerPort"] for port in ports} == labels.PORTS


def test_user_code_has_no_key_of_the_head():
    """A raylet's container, the head's too, sees the nodes' Secret alone; and of others' folders but the session's."""
    pod = head_pod(cluster(), BUILD)
    secrets = {one["name"]: one["secret"]["secretName"] for one in pod["spec"]["volumes"] if "secret" in one}
    mounted = {one["name"]: [mount["name"] for mount in one["volumeMounts"]] for one in pod["spec"]["containers"]}
    held = {name: [secrets[volume] for volume in volumes if volume in secrets] for name, volumes in mounted.items()}
    assert held == {
        "control": ["demo-head"],
        "raylet": ["demo-join"],
        "gateway": ["demo-head"],
        "dashboard": ["demo-head"],
    }
    assert set(mounted["raylet"]) & set(mounted["control"]) == set()
    assert set(mounted["raylet"]) & set(mounted["gateway"]) == {"session"}


def test_a_secret_is_mounted_whole(parsed):
    """By subPath its files would stay as they were when it changes."""
    for pod in (head_pod(parsed, BUILD), *workers(parsed)):
        secrets = {one["name"] for one in pod["spec"]["volumes"] if "secret" in one}
        mounts = [mount for one in pod["spec"]["containers"] for mount in one.get("volumeMounts", [])]
        assert [mount for mount in mounts if mount["name"] in secrets and "subPath" in mount] == []


def test_every_mounted_volume_is_there(parsed):
    """And none is there that nobody mounts."""
    for pod in (head_pod(parsed, BUILD), *workers(parsed)):
        names = [one["name"] for one in pod["spec"]["volumes"]]
        mounted = {mount["name"] for one in pod["spec"]["containers"] for mount in one.get("volumeMounts", [])}
        assert len(names) == len(set(names))
        assert set(names) == mounted


@pytest.mark.parametrize(
    ("resources", "store", "said"),
    [
        ({"limits": {"cpu": "1", "memory": "2Gi"}}, None, ("1", "0", 2 << 30, 614 << 20)),
        ({"limits": {"cpu": "500m", "memory": "1Gi"}}, "256Mi", ("0.5", "0", 1 << 30, 256 << 20)),
        ({"requests": {"cpu": "2500m", "memory": "1G"}}, None, ("2.5", "0", 10**9, 286 << 20)),
        (
            {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "4Gi", "nvidia.com/gpu": 2}},
            None,
            ("4", "2", 4 << 30, 1228 << 20),
        ),
        ({"limits": {"cpu": "1e1", "memory": "1Ti"}}, None, ("10", "0", 1 << 40, 200 << 30)),
        ({"limits": {"cpu": "1", "memory": "2Gi", "amd.com/gpu": "1", "nvidia.com/mig-1g.5gb": "3"}}, "1Gi",
         ("1", "4", 2 << 30, 1 << 30)),
    ],
)  # fmt: skip
def test_a_nodes_size_follows_from_its_resources(resources, store, said):
    """The limit counts, else the request; the object store is a part of the memory, 30 % unless it is said."""
    changes = [("workerGroups[].resources", resources)]
    if store:
        changes.append(("workerGroups[].objectStore", {"memory": store}))
    [pod] = workers(cluster(*changes))
    cpus, gpus, memory, store_bytes = said
    assert variable(pod, "MANTA_NODE_CPUS") == cpus
    assert variable(pod, "MANTA_NODE_GPUS") == gpus
    assert int(variable(pod, "MANTA_NODE_MEMORY")) == memory
    assert int(variable(pod, "MANTA_OBJECT_STORE_BYTES")) == store_bytes
    as_text = {name: {key: str(value) for key, value in amounts.items()} for name, amounts in resources.items()}
    assert container(pod, "raylet")["resources"] == as_text


def test_a_head_of_unsaid_size_expects_little():
    """Its resources need not name both: then its size is found out where it runs."""
    pod = head_pod(cluster(("head.resources", {"limits": {"nvidia.com/gpu": "1"}})), BUILD)
    assert variable(pod, "MANTA_NODE_CPUS") == "1"
    assert variable(pod, "MANTA_NODE_MEMORY") == "0"
    assert int(variable(pod, "MANTA_OBJECT_STORE_BYTES")) == 256 << 20


def test_a_head_without_tasks_still_has_a_raylet():
    """Gateway's sessions join the cluster through it; it lends nothing."""
    pod = head_pod(cluster(("head.raylet", {"enabled": False})), BUILD)
    assert variable(pod, "MANTA_NODE_CPUS") == "0"
    assert variable(pod, "MANTA_NODE_GPUS") == "0"
    assert container(pod, "raylet")["resources"] == {"limits": {"cpu": "1", "memory": "2Gi"}}


def test_a_worker_is_told_everything_about_itself():
    """All that the operator says to a worker of its own."""
    [pod, _] = workers(cluster(*FULL), slot=12)
    env = {
        one["name"]: one.get("value") or one["valueFrom"]["fieldRef"]["fieldPath"]
        for one in container(pod, "raylet")["env"]
    }
    assert env == {
        "MANTA_POD_NAME": "metadata.name",
        "MANTA_POD_UID": "metadata.uid",
        "MANTA_POD_IP": "status.podIP",
        "MANTA_POD_NAMESPACE": "metadata.namespace",
        "MANTA_NODE_HOST": "spec.nodeName",
        "MANTA_CLUSTER_NAME": "demo",
        "MANTA_GROUP": "gpu",
        "MANTA_CONTROL": "demo-join.default.svc:7600",
        "MANTA_DRAIN_GRACE": "60",
        "MANTA_AUTH": "token",
        "MANTA_TLS": "1",
        "HOME": "/data",
        "MANTA_NODE_CPUS": "7.5",
        "MANTA_NODE_GPUS": "2",
        "MANTA_NODE_MEMORY": str(64 << 30),
        "MANTA_OBJECT_STORE_BYTES": "10000000000",
        "MANTA_NODE_RESOURCES": '{"disk": 4.0, "licence": 0.5}',
        "MANTA_NODE_LABELS": '{"zone": "a"}',
        "MANTA_TMPDIR": "/run/manta",
    }
    assert set(env) - {"HOME"} < variables.OWNED


def test_the_head_is_told_where_its_control_and_who_its_guests_are():
    """Control is beside its raylet; the dashboard answers to its Service's names and to the user's, but nobody is called `*`."""
    pod = head_pod(cluster(*FULL), BUILD)
    assert variable(pod, "MANTA_CONTROL") == "127.0.0.1:7600"
    assert variable(pod, "MANTA_GROUP") == "head"
    assert variable(pod, "MANTA_EXTRA_NAMES", "dashboard").split(",") == [
        "demo-dashboard.default.svc",
        "demo-dashboard.default.svc.cluster.local",
        "demo-dashboard.default",
        "demo-dashboard",
        "gateway.example.org",
        "192.0.2.7",
    ]


@pytest.mark.parametrize(
    ("changes", "auth", "tls"),
    [((), "token", "1"), ((("auth.mode", "none"), ("tls.enabled", False)), "none", "0")],
)
def test_every_container_knows_whether_there_are_tokens_and_tls(changes, auth, tls):
    """A pod of which one half asks for tokens would be no use to anybody."""
    parsed = cluster(*changes)
    for pod in (head_pod(parsed, BUILD), *workers(parsed)):
        for one in pod["spec"]["containers"]:
            assert variable(pod, "MANTA_AUTH", one["name"]) == auth
            assert variable(pod, "MANTA_TLS", one["name"]) == tls


@pytest.mark.parametrize(("termination_s", "grace_s"), [(None, 60), (75, 60), (60, 45), (600, 585), (10, 8), (1, 1)])
def test_a_drain_fits_into_the_time_that_a_pod_has_to_end(termination_s, grace_s):
    """The kubelet kills what is not done; what a drain leaves over is for farewells."""
    spec = {"terminationGracePeriodSeconds": termination_s} if termination_s else {}
    parsed = cluster(("workerGroups[].template", {"spec": spec}), ("head.template", {"spec": spec}))
    for pod in (head_pod(parsed, BUILD), *workers(parsed)):
        assert pod["spec"]["terminationGracePeriodSeconds"] == (termination_s or 75)
        assert variable(pod, "MANTA_DRAIN_GRACE") == str(grace_s)


def test_liveness_forgives_a_minute_and_a_start_three():
    """Alive means that the event loop turns, and a busy machine is no reason to kill a cluster's memory."""
    for one in head_pod(cluster(), BUILD)["spec"]["containers"]:
        live, ready = one["livenessProbe"], one["readinessProbe"]
        allowed_s = live["periodSeconds"] * live["failureThreshold"]
        assert allowed_s >= 60
        assert live["initialDelaySeconds"] + allowed_s >= 180
        assert live["terminationGracePeriodSeconds"] <= 10
        assert (live["httpGet"]["path"], ready["httpGet"]["path"]) == ("/healthz", "/readyz")
        [port] = [port["name"] for port in one["ports"] if port["name"].startswith("metrics")]
        assert live["httpGet"]["port"] == ready["httpGet"]["port"] == port


def test_a_container_is_asked_whether_it_is_ready_as_soon_as_it_runs():
    """Until a startup probe has passed, a kubelet asks nothing else, and only at its own ticks of a second."""
    for one in head_pod(cluster(), BUILD)["spec"]["containers"]:
        assert "startupProbe" not in one
        assert "initialDelaySeconds" not in one["readinessProbe"]


@pytest.mark.parametrize(
    ("storage", "volume"),
    [
        ({}, {"persistentVolumeClaim": {"claimName": "demo-head"}}),
        ({"existingClaim": "mine"}, {"persistentVolumeClaim": {"claimName": "mine"}}),
        ({"type": "emptyDir", "size": "3Gi"}, {"emptyDir": {"sizeLimit": "3Gi"}}),
    ],
)
def test_control_keeps_its_state_where_the_spec_says(storage, volume):
    """On a claim of its own, on somebody's, or nowhere; and nobody else sees it."""
    pod = head_pod(cluster(("head.storage", storage)), BUILD)
    assert [one for one in pod["spec"]["volumes"] if one["name"] == "state"] == [{"name": "state", **volume}]
    holders = [
        one["name"] for one in pod["spec"]["containers"] if "state" in {mount["name"] for mount in one["volumeMounts"]}
    ]
    assert holders == ["control"]


def test_pods_are_labelled_for_who_looks_for_them():
    """Selectors find them, the revision tells old from new, and the owner takes them along."""
    parsed = cluster()
    [worker] = workers(parsed, slot=7)
    assert worker["metadata"] == {
        "name": "demo-w-7",
        "namespace": "default",
        "labels": {
            "app.kubernetes.io/name": "manta",
            "app.kubernetes.io/instance": "demo",
            "app.kubernetes.io/managed-by": "manta-operator",
            "app.kubernetes.io/component": "worker",
            "manta.compute/cluster": "demo",
            "manta.compute/group": "w",
            "manta.compute/slot": "7",
            "manta.compute/revision": revision(parsed, parsed.spec.worker_groups[0]),
        },
        "annotations": {
            "manta.compute/revision": revision(parsed, parsed.spec.worker_groups[0]),
            "kubectl.kubernetes.io/default-container": "raylet",
        },
        "ownerReferences": [
            {
                "apiVersion": "manta.compute/v1alpha1",
                "kind": "MantaCluster",
                "name": "demo",
                "uid": UID,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    assert labels.selector(parsed, "worker").items() <= worker["metadata"]["labels"].items()
    assert labels.selector(parsed, "head").items() <= head_pod(parsed, BUILD)["metadata"]["labels"].items()
    assert labels.REVISION == ownership.REVISION


def test_pods_of_a_group_differ_in_name_and_slot_alone():
    """So one dry run speaks for all of them."""
    parsed = cluster(*FULL)
    one, other = (workers(parsed, slot)[0] for slot in (0, 1))
    one["metadata"]["name"], one["metadata"]["labels"]["manta.compute/slot"] = "demo-gpu-1", "1"
    assert one == other


def test_pods_that_are_made_together_are_as_if_each_was_made_alone():
    """Whichever comes first."""
    parsed = cluster(*FULL)
    group = parsed.spec.worker_groups[0]
    make = WorkerPods(parsed, group, BUILD)
    for slot in (7, 0, 7, 123):
        assert make(slot) == worker_pod(parsed, group, slot, BUILD)


def test_the_same_cluster_gives_the_same_bytes(parsed):
    """In the same order too; and building one pod changes nothing about the next."""
    first = json.dumps([head_pod(parsed, BUILD), *workers(parsed)])
    assert json.dumps([head_pod(parsed, BUILD), *workers(parsed)]) == first


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (("workerGroups[].labels", {"Zone!": "a"}), "spec.workerGroups[0].labels[Zone!]"),
        (("workerGroups[].labels", {"zone": "a b"}), "spec.workerGroups[0].labels[zone]"),
        (("workerGroups[].customResources", {"CPU": 4}), "spec.workerGroups[0].customResources[CPU]"),
        (
            ("workerGroups[].customResources", {"node:10.0.0.1": 1}),
            "spec.workerGroups[0].customResources[node:10.0.0.1]",
        ),
    ],
)
def test_what_a_raylet_would_not_start_with_is_said_before(change, path):
    """By the field; a pod that fails again and again says it where nobody looks."""
    with pytest.raises(InvalidTemplateError) as caught:
        workers(cluster(change))
    [problem] = caught.value.problems
    assert problem.path == path


def test_tools_in_a_container_are_told_where_the_session_is():
    """Where it is mounted, and by nobody else; what `kubectl exec` and `kubectl logs` mean without a word is such a container."""
    parsed = cluster()
    pods = (head_pod(parsed, BUILD), worker_pod(parsed, parsed.spec.worker_groups[0], 0, BUILD))
    for pod in pods:
        for one in pod["spec"]["containers"]:
            told = [entry["value"] for entry in one["env"] if entry["name"] == "MANTA_TMPDIR"]
            mounted = [mount["mountPath"] for mount in one["volumeMounts"] if mount["name"] == "session"]
            assert told == mounted == ([] if one["name"] == "control" else [Places().run])
        assert pod["metadata"]["annotations"][labels.DEFAULT_CONTAINER] == "raylet"
