"""Whatever network and API server do for a while, a cluster comes out as on a good day, and then nobody writes."""

from __future__ import annotations

import asyncio

import pytest

from manta_operator.kinds import CLUSTERS
from manta_operator.kube.resources import PODS, SECRETS
from tests.kube.harness.proxy import (
    Cut,
    CutWatch,
    Events,
    Fault,
    HalfOpen,
    Hold,
    LoseAnswer,
    Refuse,
    lists,
    watches,
)
from tests.kube.reconciling.runs import behind, rests, settled, started, unchanged, until
from tests.kube.reconciling.states import NAME, cluster


def changes(request):
    """Writes other than of Leases."""
    return request.write > 0 and "/leases" not in request.path


def pods(request):
    """Pods being made."""
    return request.method == "POST" and request.path.endswith("/pods")


def statuses(request):
    """The cluster's status being said."""
    return request.path.endswith("/status")


def pod_watches(request):
    """Watches of pods."""
    return request.watches and request.path.endswith("/pods")


def every(number, match):
    """Each so-manieth of them."""
    count = 0

    def found(request):
        nonlocal count
        count += match(request)
        return match(request) and count % number == 0

    return found


def twice(event):
    return [event, event]


class Late:
    """Holds each event back until the next has come, and tells both then, in their order; bookmarks pass."""

    def __init__(self):
        self.held = []

    def __call__(self, event):
        if event["type"] == "BOOKMARK":
            return [event]
        out, self.held = self.held, [event]
        return out


class Dropped:
    """Loses every third event of a watch, whose version is then said to be gone: what was lost is in the next list."""

    def __init__(self):
        self.count = 0

    def __call__(self, event):
        self.count += 1
        if self.count % 3:
            return [event]
        gone = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired"}
        return [{"type": "ERROR", "object": gone}]


DAYS = {
    "watches are cut": lambda: [Fault(watches, CutWatch(after=1), times=12)],
    "events are lost": lambda: [Fault(watches, Events(Dropped()), times=30)],
    "events come twice": lambda: [Fault(watches, Events(twice), times=None)],
    "every write but the first meets a conflict once": lambda: [
        Fault(every(2, changes), Refuse(409, "Conflict", "the object has been modified"), times=6)
    ],
    "the server is busy": lambda: [Fault(every(2, changes), Refuse(429, "TooManyRequests", retry_after_s=1), times=6)],
    "the server is ill": lambda: [Fault(every(2, changes), Refuse(500, "InternalError"), times=6)],
    "writes are cut": lambda: [Fault(every(2, changes), Cut(), times=6)],
    "answers are lost": lambda: [Fault(every(2, changes), LoseAnswer(), times=8)],
    "pods' answers are lost": lambda: [Fault(pods, LoseAnswer(), times=3)],
    "writes hang": lambda: [Fault(every(4, changes), Hold(asyncio.Event()), times=2)],
    "the status cannot be said": lambda: [Fault(statuses, Refuse(500), times=3)],
    "lists are refused": lambda: [Fault(lists, Refuse(503), times=10)],
    "versions are gone": lambda: [Fault(watches, Refuse(410, "Expired"), times=10)],
}


@pytest.mark.parametrize("day", DAYS)
def test_a_bad_day_ends_as_a_good_one(kube, identity, place, tmp_path, day):
    """Made, grown and shrunk meanwhile; and the fault was met."""

    async def body():
        faults = DAYS[day]()
        async with behind(kube, identity, tmp_path, *faults) as proxy:
            with started(proxy, tmp_path, place, lease_s=6) as process:
                place.apply(cluster())
                await settled(place, process)
                made = place.secrets()
                place.apply(cluster(replicas=4))
                await settled(place, process)
                place.apply(cluster(replicas=1))
                await settled(place, process)
                assert len(place.pods()) == 2
                unchanged(made, place.secrets())
                assert all(fault.met for fault in faults)
                await rests(proxy)

    asyncio.run(body())


def test_a_watch_that_falls_silent_costs_time_and_nothing_else(kube, identity, place, tmp_path):
    """Its writes go on meanwhile as it knows what it has written; what others do is seen when the watch is given up."""

    async def body():
        async with behind(kube, identity, tmp_path, Fault(pod_watches, HalfOpen(after=1))) as proxy:
            with started(proxy, tmp_path, place) as process:
                place.apply(cluster(replicas=3))
                names = [f"{NAME}-head", *(f"{NAME}-w-{slot}" for slot in range(3))]
                await until(lambda: sorted(place.pods()) == names, "the pods are made")
                created = [one for one in proxy.requests if pods(one)]
                await rests(proxy)
                assert [one for one in proxy.requests if pods(one)] == created
                assert process.alive

    asyncio.run(body())


def test_a_list_from_the_past_makes_no_second_pod_and_takes_none_away(kube, api, identity, place, tmp_path):
    """A new instance reads from a server that is behind: names are taken, and what it would delete has another version by now."""

    async def body():
        async with behind(kube, identity, tmp_path) as proxy:
            place.apply(cluster(replicas=1))
            with started(proxy, tmp_path, place, lease="first") as process:
                await settled(place, process)
                old = {
                    plural: api.get(resource.path(place.namespace)).body
                    for plural, resource in (("mantaclusters", CLUSTERS), ("pods", PODS), ("secrets", SECRETS))
                }
                place.apply(cluster(replicas=3))
                await settled(place, process)
            before, made = place.pods(), place.secrets()

            proxy.replay(
                {CLUSTERS.path(place.namespace): old["mantaclusters"], PODS.path(place.namespace): old["pods"]}
            )
            with started(proxy, tmp_path, place, lease="second") as process:
                await until(lambda: not proxy.replayed, "the past was read")
                await settled(place, process)
                await rests(proxy)
            assert place.pods() == before
            unchanged(made, place.secrets())

    asyncio.run(body())
