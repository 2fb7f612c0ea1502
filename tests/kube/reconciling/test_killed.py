"""The operator is killed after any write whatever; the next one brings everything to the same end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from manta_operator.kinds import CLUSTERS
from tests.kube.reconciling.runs import behind, rests, running, settled, started, unchanged, until
from tests.kube.reconciling.states import NAME, Place, cluster

#: Operators at a time.
SIDE_BY_SIDE = 6
#: Beyond what a run without a kill writes: runs differ by a status or two.
SPARE = 4
#: A run may write its status once more whenever it looks; more than so many times the writes of another is a loop.
MOST_TIMES = 2


@dataclass(frozen=True)
class Change:
    """What is done to a cluster, whose operator is then killed on its way.

    Attributes:
        before: How the cluster is; None for not at all.
        after: How it is to be; None for gone.
    """

    before: dict[str, Any] | None
    after: dict[str, Any] | None


CHANGES = {
    "create": Change(None, cluster()),
    "scale up": Change(cluster(), cluster(replicas=4)),
    "scale down": Change(cluster(replicas=4), cluster(replicas=1)),
    "update": Change(cluster(), cluster(image="manta:2")),
    "delete": Change(cluster(), None),
}


class Killed:
    """One namespace whose operator is killed after its write number `k`."""

    def __init__(self, place: Place, k: int) -> None:
        self.place, self.k = place, k
        self.met = False
        self.secrets: dict[str, dict[str, str]] = {}

    async def run(self, kube, identity, folder, change, slots) -> None:
        """Until it is killed, or all is done and it was not reached."""
        async with slots, behind(kube, identity, folder) as proxy:
            begin(self.place, change)
            with started(proxy, folder, self.place, lease=f"kill-{self.k}") as process:

                def kill() -> None:
                    self.met = True
                    process.kill()

                proxy.after_change(self.k, kill)
                try:
                    await until(lambda: self.met or ended(self.place, change), f"kill {self.k} is met, or all is done")
                except AssertionError as error:
                    status, log = self.place.mine.get("status"), process.log.read_text()[-3000:]
                    raise AssertionError(f"{error}\n{status}\n{proxy.requests[-10:]}\n{log}") from None
        self.secrets = self.place.secrets()


def begin(place: Place, change: Change) -> None:
    """Do it."""
    if change.after is not None:
        place.apply(change.after)
    else:
        place.delete(CLUSTERS, NAME)


def ended(place: Place, change: Change) -> bool:
    """It was done."""
    return place.settled() if change.after is not None else place.gone()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHANGES)
def test_it_may_be_killed_after_every_write(kube, identity, places, tmp_path, name):
    """Each k in a namespace of its own, up to one that is beyond the last write."""
    change = CHANGES[name]

    async def body():
        fresh = places()
        async with running(kube, identity, tmp_path / "fresh", fresh) as (process, proxy):
            if change.before is not None:
                fresh.apply(change.before)
                await settled(fresh, process)
            written = proxy.changes
            begin(fresh, change)
            await until(partial(ended, fresh, change), "it is done without a kill")
            await rests(proxy)
            count = proxy.changes - written
            wanted = fresh.state() if change.after is not None else {}
        before: dict[int, dict[str, dict[str, str]]] = {}

        async def killed(numbers: range) -> list[Killed]:
            made = [Killed(places(), k) for k in numbers]
            if change.before is not None:
                everywhere = [one.place for one in made]
                for place in everywhere:
                    place.apply(change.before)
                name = f"before-{numbers.start}"
                async with running(kube, identity, tmp_path / name, *everywhere, lease=name) as (process, _):
                    for place in everywhere:
                        await settled(place, process)
            before.update({one.k: one.place.secrets() for one in made})
            slots = asyncio.Semaphore(SIDE_BY_SIDE)
            async with asyncio.TaskGroup() as group:
                for one in made:
                    group.create_task(one.run(kube, identity, tmp_path / f"k{one.k}", change, slots))
            return made

        kills = await killed(range(1, count + SPARE + 1))
        # Runs differ by a status or two, busy ones by more. The last is met by none: it is beyond the last write of its run.
        while kills[-1].met:
            last = kills[-1].k
            assert last < MOST_TIMES * count, f"there is no end of writes; {count} were expected"
            kills += await killed(range(last + 1, last + SPARE + 1))
        met = [one.k for one in kills if one.met]
        assert set(met) >= set(range(1, count - SPARE + 1)), f"of {count} writes these were met: {met}"

        for one in kills:
            unchanged(before[one.k], one.secrets if change.after is not None else before[one.k])
        everywhere = [one.place for one in kills]
        async with running(kube, identity, tmp_path / "after", *everywhere, lease="after") as (_, proxy):
            for one in kills:
                await until(partial(ended, one.place, change), f"it is done after kill {one.k}")
            await rests(proxy)
            for one in kills:
                if change.after is not None:
                    unchanged(one.secrets, one.place.secrets())
                    assert one.place.state() == wanted, f"after kill {one.k}"

    asyncio.run(body())
