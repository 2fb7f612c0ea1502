"""Of two instances one works; and one that was away too long does nothing that the other has undone."""

from __future__ import annotations

import asyncio

import pytest

from manta_operator.kinds import CLUSTERS
from tests.kube.reconciling.runs import behind, rests, running, settled, started, unchanged, until
from tests.kube.reconciling.states import NAME, cluster


def lease(place, name="manta-operator"):
    path = f"/apis/coordination.k8s.io/v1/namespaces/{place.namespace}/leases/{name}"
    return place.api.get(path).body.get("spec") or {}


def holder(place):
    return lease(place).get("holderIdentity") or ""


def test_of_two_instances_one_works(kube, identity, place, tmp_path):
    """The other reads, and writes nothing but its looks at the Lease; when the first ends it goes on at once."""

    async def body():
        # Longer than anything here takes: who waited for its end would be seen to.
        async with (
            running(kube, identity, tmp_path / "one", place, lease_s=60) as (one, first),
        ):
            await until(lambda: holder(place), "one leads")
            leader = holder(place)
            async with running(kube, identity, tmp_path / "two", place, lease_s=60) as (two, second):
                place.apply(cluster())
                await settled(place, one)
                assert second.changes == 0
                await rests(first, second)

                loop = asyncio.get_running_loop()
                began = loop.time()
                assert await asyncio.to_thread(one.end) == 0
                await until(lambda: holder(place) not in ("", leader), "the other leads")
                assert loop.time() - began < 60 / 2, "it waited for the lease to run out"
                place.apply(cluster(replicas=3))
                await settled(place, two)
                assert second.changes > 0

    asyncio.run(body())


@pytest.mark.timeout(240)
def test_a_leader_that_is_paused_past_its_lease_does_no_harm(kube, identity, place, tmp_path):
    """It wakes with an old picture and an old plan, and finds that it does not lead."""

    async def body():
        async with running(kube, identity, tmp_path / "one", place, lease_s=6) as (one, first):
            place.apply(cluster(replicas=3))
            await settled(place, one)
            made = place.secrets()
            async with running(kube, identity, tmp_path / "two", place, lease_s=6) as (two, second):
                leader = holder(place)
                one.pause()
                place.apply(cluster(replicas=1))
                await until(lambda: holder(place) != leader, "the other leads")
                await settled(place, two)
                place.apply(cluster(replicas=4))
                await settled(place, two)
                pods, before = place.pods(), first.changes
                one.resume()
                await rests(first, second)
                assert first.changes == before
                assert place.pods() == pods
                unchanged(made, place.secrets())
                assert one.alive

    asyncio.run(body())


def test_two_that_both_believe_to_lead_make_no_second_pod(kube, identity, place, tmp_path):
    """Two Leases, as if there were no fence at all: names are locks, and the end is the same."""

    async def body():
        async with behind(kube, identity, tmp_path) as first, behind(kube, identity, tmp_path) as second:
            with started(first, tmp_path, place, lease="a") as one, started(second, tmp_path, place, lease="b"):
                for replicas in (3, 5, 1, 4):
                    place.apply(cluster(replicas=replicas))
                    await settled(place, one)
                    assert len(place.pods()) == replicas + 1
                made = place.secrets()
                await rests(first, second)
                place.delete(CLUSTERS, NAME)
                await until(place.gone, "all of it is gone")
                place.apply(cluster())
                await settled(place, one)
                assert {name: data for name, data in place.secrets().items() if data == made.get(name)} == {}
                await rests(first, second)

    asyncio.run(body())
