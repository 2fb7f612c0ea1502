"""What others say of pods and claims is in the cluster's status: they say it in Events, and nowhere else."""

from __future__ import annotations

import asyncio
import secrets

from manta_operator.kinds import CLUSTERS
from manta_operator.kube.resources import EVENTS, PODS
from tests.kube.harness.kubelet import now
from tests.kube.reconciling.runs import rests, running, settled, until
from tests.kube.reconciling.states import NAME, cluster

NOT_THERE = 'MountVolume.SetUp failed for volume "a" : secret "not-there" not found'


def condition(place, kind="Degraded"):
    found = {one["type"]: one for one in place.mine.get("status", {}).get("conditions", [])}
    return found.get(kind, {})


def warn(place, pod, note, reason="FailedMount"):
    """As a kubelet does."""
    metadata = place.get(PODS, pod)["metadata"]
    event = {
        "metadata": {"name": f"{pod}.{secrets.token_hex(4)}", "namespace": place.namespace},
        "involvedObject": {"kind": "Pod", "namespace": place.namespace, "name": pod, "uid": metadata["uid"]},
        "type": "Warning",
        "reason": reason,
        "message": note,
        "source": {"component": "kubelet"},
        "firstTimestamp": now(),
        "lastTimestamp": now(),
        "count": 1,
    }
    answer = place.api.create(f"/api/v1/namespaces/{place.namespace}/events", event)
    assert answer.ok, answer.message


def test_a_class_that_does_not_exist_is_said_in_the_provisioners_words(kube, kubelet, identity, place, tmp_path):
    """The claim itself says nothing but Pending."""

    async def body():
        async with running(kube, identity, tmp_path, place) as (_, proxy):
            place.apply(cluster(head={"storage": {"type": "pvc", "storageClassName": "no-such"}}))
            await until(lambda: "not found" in condition(place).get("message", ""), "the status has the words")
            assert condition(place)["reason"] == "NoStorageClass"
            assert 'storageclass.storage.k8s.io "no-such" not found' in condition(place)["message"]
            assert place.mine["status"]["head"]["reason"] == "NoStorageClass"
            # It is said again every few seconds, and is no news.
            await rests(proxy)
            watched = [one for one in proxy.requests if one.path == EVENTS.path(place.namespace) and not one.write]
            assert [one.watches for one in watched] == [False, True]
            # What follows a watch without Events is a list: there is none for most of an hour.
            assert int(watched[1].query["timeoutSeconds"]) >= 2700
            place.delete(CLUSTERS, NAME)
            await until(place.gone, "all of it is gone")

    asyncio.run(body())


def test_a_secret_that_a_template_mounts_and_that_is_not_there(kube, kubelet, identity, place, tmp_path):
    """Its pod waits in ContainerCreating; when the Secret is there the pod starts, and the old Event is no cause any more."""
    worker = f"{place.namespace}/{NAME}-w-0"
    kubelet.hold.add(worker)

    async def body():
        async with running(kube, identity, tmp_path, place) as (operator, proxy):
            place.apply(cluster(replicas=1))
            await until(lambda: (place.get(PODS, f"{NAME}-w-0") or {}).get("spec", {}).get("nodeName"), "it has a node")
            warn(place, f"{NAME}-w-0", NOT_THERE)
            warn(place, f"{NAME}-w-0", "Back-off restarting failed container", "BackOff")
            await until(lambda: condition(place).get("reason") == "MissingSecret", "the status says so")
            assert NOT_THERE in condition(place)["message"]
            assert place.mine["status"]["groups"][0]["reason"] == "MissingSecret"
            await rests(proxy)
            kubelet.release(worker)
            await settled(place, operator)
            assert condition(place)["status"] == "False"
            place.delete(CLUSTERS, NAME)
            await until(place.gone, "all of it is gone")

    asyncio.run(body())
