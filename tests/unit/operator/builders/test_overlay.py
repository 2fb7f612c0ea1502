"""A user's template over the operator's pod: what it changes, and what it must not."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from manta_operator.builders import labels, owned, variables
from manta_operator.builders.overlay import InvalidTemplateError, merged
from manta_operator.builders.pods import head_pod, worker_pod
from tests.unit.operator.clusters import BUILD, cluster


def worker_with(spec, metadata=None):
    """A worker's pod under a template."""
    parsed = cluster(("workerGroups[].template", {"metadata": metadata or {}, "spec": spec}))
    pod = worker_pod(parsed, parsed.spec.worker_groups[0], 0, BUILD)
    # Another template is another revision, and that is another test.
    for names in (pod["metadata"]["labels"], pod["metadata"]["annotations"]):
        names[labels.REVISION] = "x"
    return pod


def head_with(spec, metadata=None):
    return head_pod(cluster(("head.template", {"metadata": metadata or {}, "spec": spec})), BUILD)


def raylet_with(**said):
    """The raylet's container of a worker under a template."""
    return worker_with({"containers": [{"name": "raylet", **said}]})["spec"]["containers"][0]


PLAIN = worker_with({})
PLAIN_RAYLET = PLAIN["spec"]["containers"][0]


@pytest.mark.parametrize(
    "spec",
    [
        {"nodeSelector": {"disk": "ssd"}},
        {"tolerations": [{"operator": "Exists"}]},
        {"affinity": {"nodeAffinity": {}}},
        {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]},
        {"priorityClassName": "low"},
        {"serviceAccountName": "robot"},
        {"schedulerName": "other"},
        {"runtimeClassName": "gvisor"},
        {"dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}},
        {"imagePullSecrets": [{"name": "mine"}]},
        {"initContainers": [{"name": "first", "image": "i"}]},
        {"a-field-of-tomorrow": [1]},
    ],
    ids=lambda spec: next(iter(spec)),
)
def test_a_field_of_the_pod_is_what_the_template_says(spec):
    """And nothing else is changed. Fields that we do not know are the API server's to judge."""
    assert worker_with(spec) == {**PLAIN, "spec": {**PLAIN["spec"], **spec}}


def test_labels_and_annotations_come_beside_ours():
    """Ours stay."""
    pod = worker_with({}, {"labels": {"team": "a"}, "annotations": {"note": "b"}})
    assert pod["metadata"]["labels"] == {**PLAIN["metadata"]["labels"], "team": "a"}
    assert pod["metadata"]["annotations"] == {**PLAIN["metadata"]["annotations"], "note": "b"}


def test_a_security_context_is_merged():
    """One setting more does not take away the others."""
    pod = worker_with({"securityContext": {"supplementalGroups": [7]}})
    assert pod["spec"]["securityContext"] == {**PLAIN["spec"]["securityContext"], "supplementalGroups": [7]}
    one = raylet_with(securityContext={"capabilities": {"add": ["SYS_PTRACE"]}})
    assert one["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_PTRACE"]}
    assert one["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_container_of_ours_is_merged_by_its_name():
    """Variables by name, mounts and ports beside ours, all else replaced."""
    assert raylet_with(image="mine:1", imagePullPolicy="Always") == {
        **PLAIN_RAYLET, "image": "mine:1", "imagePullPolicy": "Always",
    }  # fmt: skip
    assert raylet_with(env=[{"name": "A", "value": "b"}])["env"] == [*PLAIN_RAYLET["env"], {"name": "A", "value": "b"}]
    homes = [one for one in raylet_with(env=[{"name": "HOME", "value": "/h"}])["env"] if one["name"] == "HOME"]
    assert homes == [{"name": "HOME", "value": "/h"}]
    assert raylet_with(envFrom=[{"secretRef": {"name": "s"}}])["envFrom"] == [{"secretRef": {"name": "s"}}]
    mount = {"name": "data", "mountPath": "/data"}
    assert raylet_with(volumeMounts=[mount])["volumeMounts"] == [*PLAIN_RAYLET["volumeMounts"], mount]
    port = {"name": "debug", "containerPort": 5678}
    assert raylet_with(ports=[port])["ports"] == [*PLAIN_RAYLET["ports"], port]


def test_other_containers_are_sidecars():
    """Any name but ours."""
    pod = head_with({"containers": [{"name": "logs", "image": "l"}, {"name": "gateway", "image": "g"}]})
    assert [(one["name"], one["image"]) for one in pod["spec"]["containers"]] == [
        ("control", "manta:1"),
        ("raylet", "manta:1"),
        ("gateway", "g"),
        ("dashboard", "manta:1"),
        ("logs", "l"),
    ]


def test_doors_may_be_larger():
    """`head.resources` are the raylet's; what control, gateway and dashboard have is for the template to say otherwise."""
    pod = head_with({"containers": [{"name": "control", "resources": {"limits": {"memory": "8Gi"}}}]})
    [control] = [one for one in pod["spec"]["containers"] if one["name"] == "control"]
    assert control["resources"]["limits"] == {"cpu": "2", "memory": "8Gi"}
    assert control["resources"]["requests"] == {"cpu": "100m", "memory": "256Mi"}


def test_null_is_as_good_as_nothing():
    """As for the API server."""
    assert worker_with({"nodeSelector": None, "hostNetwork": None, "containers": None}) == PLAIN
    assert raylet_with(command=None, env=None) == PLAIN_RAYLET


AT = "spec.workerGroups[0].template"
REFUSED = [
    *(({name: "x"}, f".spec.{name}", "cannot be set") for name in owned.POD),
    ({"resources": {"limits": {"cpu": "1"}}}, ".spec.resources", "sizes are said in spec.workerGroups[0].resources"),
    ({"terminationGracePeriodSeconds": 0}, ".spec.terminationGracePeriodSeconds", "at least 1"),
    ({"terminationGracePeriodSeconds": "60"}, ".spec.terminationGracePeriodSeconds", "whole number"),
    ({"terminationGracePeriodSeconds": True}, ".spec.terminationGracePeriodSeconds", "whole number"),
    ({"volumes": [{"name": "session"}]}, ".spec.volumes[0].name", "is a volume of ours"),
    ({"volumes": [{"name": "a"}, {"name": "a"}]}, ".spec.volumes[1].name", "is there twice"),
    ({"volumes": [{}]}, ".spec.volumes[0].name", "is missing"),
    ({"volumes": {"name": "a"}}, ".spec.volumes", "must be a list"),
    ({"volumes": ["a"]}, ".spec.volumes[0]", "must be an object"),
    ({"initContainers": [{"name": "raylet"}]}, ".spec.initContainers[0].name", "is a container of ours"),
    ({"imagePullSecrets": [{"name": 3}]}, ".spec.imagePullSecrets[0].name", "must be a text"),
    ({"containers": 3}, ".spec.containers", "must be a list"),
    ({"containers": [{"image": "x"}]}, ".spec.containers[0].name", "is missing"),
    ({"containers": [{"name": "a"}, {"name": "a"}]}, ".spec.containers[1].name", "is there twice"),
]
CONTAINER_REFUSED = [
    *(({name: "x"}, f".{name}", "cannot be set") for name in owned.CONTAINER),
    ({"resources": {"limits": {"cpu": "4"}}}, ".resources", "sizes are said in spec.workerGroups[0].resources"),
    *(({"env": [{"name": name, "value": "x"}]}, ".env[0].name", "the operator sets") for name in variables.OWNED),
    ({"env": {"A": "b"}}, ".env", "must be a list"),
    ({"env": [{"value": "b"}]}, ".env[0].name", "is missing"),
    ({"envFrom": "x"}, ".envFrom", "must be a list"),
    ({"ports": [{"containerPort": 7610}]}, ".ports[0].containerPort", "7610 is a port of ours"),
    ({"ports": [{"containerPort": "http"}]}, ".ports[0].containerPort", "must be a whole number"),
    *(
        ({"volumeMounts": [{"name": "x", "mountPath": path}]}, ".volumeMounts[0].mountPath", "a folder of ours")
        for path in (*owned.PATHS, "/tmp/")
    ),
    ({"volumeMounts": [{"name": "session", "mountPath": "/x"}]}, ".volumeMounts[0].name", "a volume of ours"),
]


@pytest.mark.parametrize(("spec", "path", "says"), REFUSED, ids=[f"{path}-{says}" for _, path, says in REFUSED])
def test_what_the_operator_needs_cannot_be_said_otherwise(spec, path, says):
    """The error names the field and says why."""
    with pytest.raises(InvalidTemplateError) as caught:
        worker_with(spec)
    [problem] = caught.value.problems
    assert problem.path == AT + path
    assert says in problem.says


@pytest.mark.parametrize(("said", "path", "says"), CONTAINER_REFUSED)
def test_nor_can_what_it_needs_of_a_container(said, path, says):
    """The same, in the raylet's container."""
    with pytest.raises(InvalidTemplateError) as caught:
        raylet_with(**said)
    [problem] = caught.value.problems
    assert problem.path == f"{AT}.spec.containers[0]{path}"
    assert says in problem.says


@pytest.mark.parametrize("name", ["app.kubernetes.io/name", "app.kubernetes.io/component", "manta.compute/anything"])
def test_labels_by_which_pods_are_found_are_ours(name):
    """A pod that is called otherwise would be nobody's."""
    with pytest.raises(InvalidTemplateError, match=r"labels\[.*by it the operator finds its pods"):
        head_with({}, {"labels": {name: "x"}})


def test_every_mistake_is_named_at_once():
    """With the index of the group that has it."""
    group = {"name": "v", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
    wrong = {"spec": {"hostNetwork": True, "containers": [{"name": "raylet", "args": ["x"]}]}}
    parsed = cluster(("workerGroups", [group, {**group, "name": "w", "template": wrong}]))
    with pytest.raises(InvalidTemplateError) as caught:
        worker_pod(parsed, parsed.spec.worker_groups[1], 0, BUILD)
    assert str(caught.value) == (
        "spec.workerGroups[1].template.spec.hostNetwork: cannot be set: "
        "ports are fixed, and two pods on one node would want the same; "
        "spec.workerGroups[1].template.spec.containers[0].args: cannot be set: "
        "it runs manta.pod; another program belongs into a container of its own"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["raylet", "session", "/tmp"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "env", "ports", "volumeMounts", "mountPath", "resources", "containerPort", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    ["containers", "initContainers", "volumes", "imagePullSecrets", "securityContext", "nodeSelector",
     "terminationGracePeriodSeconds", "affinity", "hostNetwork", "resources"]
)  # fmt: skip


@hypothesis.given(spec=st.dictionaries(FIELDS, JSON, max_size=4))
@hypothesis.example(spec={"containers": [{"name": "raylet", "volumeMounts": [{"name": [], "mountPath": "/x"}]}]})
def test_any_template_gives_a_pod_that_is_ours_or_an_error_of_ours(spec):
    """Whatever stands in it, nothing else comes out, and what the operator needs is as it was."""
    before = json.dumps(spec)
    try:
        pod = worker_with(spec)
    except InvalidTemplateError:
        pass
    else:
        assert json.loads(json.dumps(pod)) == pod
        [raylet] = [one for one in pod["spec"]["containers"] if one["name"] == "raylet"]
        for name in ("command", "resources", "livenessProbe"):
            assert raylet[name] == PLAIN_RAYLET[name]
        assert pod["spec"]["restartPolicy"] == "Always"
        assert [one for one in PLAIN["spec"]["volumes"] if one not in pod["spec"]["volumes"]] == []
        assert [one for one in PLAIN_RAYLET["volumeMounts"] if one not in raylet["volumeMounts"]] == []
    assert json.dumps(spec) == before


def test_merging():
    """Objects are merged, all else replaced, null says nothing."""
    assert merged({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"c": [2], "e": None}, "f": {"g": None}}) == {
        "a": {"b": 1, "c": [2]},
        "d": 2,
        "f": {},
    }
    assert merged({"a": 1}, 3) == 3
    assert merged(3, {"a": 1}) == {"a": 1}
    assert merged({"a": 1}, None) == {"a": 1}
