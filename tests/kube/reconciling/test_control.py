"""Workers go when control says that they hold nothing any more; a control that says nothing holds up nobody."""

from __future__ import annotations

import asyncio

from manta_operator.kinds import CLUSTERS
from tests.kube.reconciling.runs import rests, running, settled, until
from tests.kube.reconciling.states import NAME, cluster


def workers(place):
    return sorted(name for name in place.pods() if name != f"{NAME}-head")


def test_a_worker_goes_when_its_drain_is_over_and_not_before(kube, kubelet, identity, place, tmp_path):
    """All that time it is there, and nobody writes; when control confirms, it is deleted."""

    async def body():
        async with running(kube, identity, tmp_path, place) as (operator, proxy):
            place.apply(cluster(replicas=2))
            await settled(place, operator)
            control = kubelet.controls.of(place.mine["metadata"]["uid"])
            control.holds |= {f"{NAME}-w-0", f"{NAME}-w-1"}
            place.apply(cluster(replicas=1))
            await until(lambda: control.drains, "a drain was asked for")
            await rests(proxy)
            assert len(workers(place)) == 2
            [going] = control.drains
            kubelet.controls.do(lambda: control.finish(going))
            await settled(place, operator)
            assert workers(place) == sorted({f"{NAME}-w-0", f"{NAME}-w-1"} - {going})
            assert control.drains == [going]
            await rests(proxy)

    asyncio.run(body())


def test_a_worker_that_control_will_not_drain_stays_and_the_status_says_why(kube, kubelet, identity, place, tmp_path):
    """Nobody else could take its work; when control lets it go it goes."""

    async def body():
        async with running(kube, identity, tmp_path, place) as (operator, proxy):
            place.apply(cluster(replicas=2))
            await settled(place, operator)
            control = kubelet.controls.of(place.mine["metadata"]["uid"])
            control.refuses |= {f"{NAME}-w-0", f"{NAME}-w-1"}
            place.apply(cluster(replicas=1))
            await until(lambda: "nobody else takes the work" in str(place.mine.get("status")), "it is said")
            await rests(proxy)
            assert len(workers(place)) == 2
            control.refuses.clear()
            await settled(place, operator)
            assert len(workers(place)) == 1

    asyncio.run(body())


def test_a_cluster_whose_control_says_nothing_delays_no_other(kube, kubelet, identity, places, tmp_path):
    """Its workers cannot be drained; others' clusters are made and shrunk meanwhile."""

    async def body():
        silent, other = places(), places()
        async with running(kube, identity, tmp_path, silent, other) as (operator, _):
            silent.apply(cluster(replicas=2))
            uid = silent.mine["metadata"]["uid"]
            kubelet.controls.of(uid).silent = True
            await until(lambda: len(silent.pods()) == 3, "its pods are made")
            silent.apply(cluster(replicas=1))
            other.apply(cluster(replicas=3))
            await settled(other, operator)
            other.apply(cluster(replicas=1))
            await settled(other, operator)
            assert len(workers(other)) == 1
            kubelet.controls.of(uid).silent = False
            await settled(silent, operator)
            assert len(workers(silent)) == 1
            silent.delete(CLUSTERS, NAME)
            await until(silent.gone, "all of it is gone")

    asyncio.run(body())
