"""What a user can get wrong, and the API server lets in: each is Degraded, and says what is wrong and where."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

from manta_operator.kube.resources import PODS
from tests.kube import cases
from tests.kube.reconciling.runs import REST_S, running, settled, until
from tests.kube.reconciling.states import NAME, cluster

GROUP = "workerGroups[]"
IMAGE = "registry.invalid/no-such:1"


@dataclass(frozen=True)
class Bad:
    """One mistake.

    Attributes:
        path: Of the field, from `spec`.
        value: What stands there.
        reason: Of `Degraded`.
        words: In its message.
    """

    path: str
    value: object
    reason: str
    words: tuple[str, ...]


def limits(**most):
    return {"limits": {"cpu": "1", "memory": "1Gi", **most}}


CLUSTERS = {
    "more CPUs than any node has": Bad(
        f"{GROUP}.resources", limits(cpu="100000"), "Unschedulable", (f"{NAME}-w-0", "Insufficient cpu")
    ),
    "more memory than there is": Bad(
        f"{GROUP}.resources", limits(memory="900000Ti"), "Unschedulable", (f"{NAME}-w-0", "Insufficient memory")
    ),
    "a request above its limit": Bad(
        f"{GROUP}.resources",
        {**limits(), "requests": {"cpu": "2"}},
        "InvalidTemplate",
        ("cpu", "must be less than or equal"),
    ),
    "no such Secret with tokens": Bad("auth.existingSecret", "no-such", "MissingSecret", ("no-such", "viewer")),
    "no such authority": Bad("tls.existingSecret", "no-such", "MissingSecret", ("no-such", "tls.crt")),
    "no such claim": Bad("head.storage", {"existingClaim": "no-such"}, "MissingClaim", ("no-such",)),
    "a misspelt field": Bad(
        "head.template.spec",
        {"nodeSelectr": {"a": "b"}},
        "InvalidTemplate",
        ("head", 'unknown field "spec.nodeSelectr"'),
    ),
    "a value of another type": Bad(
        f"{GROUP}.template.spec", {"hostAliases": 3}, "InvalidTemplate", (f"{NAME}-w-0", "hostAliases")
    ),
    "a volume that is mounted and not there": Bad(
        f"{GROUP}.template.spec",
        {"containers": [{"name": "raylet", "volumeMounts": [{"name": "no-such", "mountPath": "/data"}]}]},
        "InvalidTemplate",
        (f"{NAME}-w-0", "volumeMounts", "no-such"),
    ),
    "no such priority": Bad(
        f"{GROUP}.template.spec", {"priorityClassName": "no-such"}, "Forbidden", (f"{NAME}-w-0", "no-such")
    ),
    "no such account": Bad(
        f"{GROUP}.template.spec", {"serviceAccountName": "no-such"}, "Forbidden", (f"{NAME}-w-0", "no-such")
    ),
    "a label that is none": Bad(
        f"{GROUP}.labels", {"a b": "x"}, "InvalidTemplate", ("spec.workerGroups[0].labels[a b]",)
    ),
    "a resource that follows from others": Bad(
        f"{GROUP}.customResources", {"CPU": 2}, "InvalidTemplate", ("spec.workerGroups[0].customResources[CPU]",)
    ),
    "no such image": Bad("image", IMAGE, "ImagePullBackOff", (f"{NAME}-w-0", IMAGE, "raylet", "not found")),
}


def cannot_pull(place):
    """The kubelet's words of an image that is not there."""
    waiting = {"reason": "ErrImagePull", "message": f'failed to pull "{IMAGE}": not found'}
    one = {
        "name": "raylet",
        "image": IMAGE,
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"waiting": waiting},
    }
    place.patch(PODS, f"{NAME}-w-0", {"status": {"containerStatuses": [one]}}, "status")


def tried(request):
    """A pod is to be made."""
    return request.method == "POST" and request.path.endswith("/pods")


def statuses(proxy):
    """How often the status of any cluster was written."""
    return sum(one.method == "PATCH" and one.path.endswith("/status") for one in proxy.requests)


def quiet(proxy):
    """No status was written for a while."""
    before = statuses(proxy)
    time.sleep(REST_S)  # of a thread; the proxy goes on
    return statuses(proxy) == before


async def said(place, name, bad, operator):
    """The cluster's conditions have what is wrong, and where."""
    try:
        await until(lambda: place.condition("Degraded").get("reason") == bad.reason, f"{name}: {bad.reason}")
    except AssertionError as error:
        log = operator.log.read_text()[-3000:]
        raise AssertionError(f"{error}\n{place.condition('Degraded')}\n{log}") from None
    found = place.condition("Degraded")["message"]
    assert [words for words in bad.words if words not in found] == [], f"{name}: {found}"
    assert place.condition("Ready")["status"] == "False", name


@pytest.mark.timeout(400)
def test_each_mistake_is_said_with_its_place_and_can_be_put_right(kube, kubelet, identity, places, tmp_path):
    """Side by side under one operator, which goes on; put right, each cluster is ready."""
    there = {name: places() for name in CLUSTERS}
    pulls = there["no such image"]
    kubelet.hold.add(f"{pulls.namespace}/{NAME}-w-0")

    async def body():
        async with running(kube, identity, tmp_path, *there.values()) as (operator, proxy):
            for name, bad in CLUSTERS.items():
                storage = "pvc" if "claim" in name else "emptyDir"
                there[name].apply(cases.changed(cluster(replicas=1, storage=storage), (bad.path, bad.value)))
            await until(lambda: (pulls.get(PODS, f"{NAME}-w-0") or {}).get("spec", {}).get("nodeName"), "it has a node")
            cannot_pull(pulls)
            for name, bad in CLUSTERS.items():
                await said(there[name], name, bad, operator)
            assert operator.alive
            # What was refused is tried again, less and less often, and nobody writes about it.
            await until(lambda: quiet(proxy), "the status of each is said")
            said_before = statuses(proxy)
            tries = len(proxy.requests)
            await until(lambda: any(tried(one) for one in proxy.requests[tries:]), "something is tried again")
            await asyncio.sleep(REST_S)
            assert statuses(proxy) == said_before
            kubelet.release(f"{pulls.namespace}/{NAME}-w-0")
            # A head's storage cannot change: that one is another cluster's to put right.
            right = [place for name, place in there.items() if name != "no such claim"]
            for place in right:
                place.apply(cluster(replicas=1))
            for place in right:
                await settled(place, operator)

    asyncio.run(body())
