"""A cluster is made, grows, shrinks, changes, rests and goes, and all that was promised of each is so."""

from __future__ import annotations

import asyncio

from manta_operator.kinds import CHILDREN, CLUSTERS
from manta_operator.kube.resources import PODS
from tests.kube.reconciling.runs import rests, running, settled, unchanged, until
from tests.kube.reconciling.states import NAME, cluster


def test_a_life(kube, kubelet, identity, place, tmp_path):
    """From nothing to two workers, to three, to one, to another image, and to nothing; at rest nobody writes."""

    async def body():
        async with running(kube, identity, tmp_path, place) as (operator, proxy):
            place.apply(cluster())
            await settled(place, operator)
            assert sorted(place.pods()) == [f"{NAME}-head", f"{NAME}-w-0", f"{NAME}-w-1"]
            made = place.secrets()
            await rests(proxy)

            place.apply(cluster(replicas=3))
            await settled(place, operator)
            assert sorted(place.pods()) == [f"{NAME}-head", *(f"{NAME}-w-{slot}" for slot in range(3))]

            place.apply(cluster(replicas=1))
            await settled(place, operator)
            [left] = [name for name in place.pods() if name != f"{NAME}-head"]
            control = kubelet.controls.of(place.mine["metadata"]["uid"])
            assert sorted([*control.drains, left]) == [f"{NAME}-w-{slot}" for slot in range(3)]
            await rests(proxy)

            before = place.pods()
            place.apply(cluster(replicas=1, image="manta:2"))
            await settled(place, operator)
            after = place.pods()
            assert not set(before.values()) & set(after.values())
            assert {one["image"] for pod in place.all(PODS) for one in pod["spec"]["containers"]} == {"manta:2"}
            unchanged(made, place.secrets())
            await rests(proxy)

            place.delete(CLUSTERS, NAME)
            await until(place.gone, "all of it is gone")
            await rests(proxy)
            assert all(not place.all(resource) for resource in CHILDREN)
            assert await asyncio.to_thread(operator.end) == 0

    asyncio.run(body())
