"""Control is killed at each step of a placement group's life: afterwards it is held as it is written down, and nothing more."""

import asyncio
import contextlib
import os
import signal

import pytest

from manta.core.errors import MantaError
from manta.rpc.v1 import common_pb2, control_pb2, raylet_pb2
from tests.process.control.fakes import FakeRaylet, client_of
from tests.process.control.processes import ControlProcess

#: gRPC's poller thread and its descriptors live until this process ends, by design of gRPC.
pytestmark = [pytest.mark.may_leak("threads", "fds"), pytest.mark.timeout(120)]

CPU = common_pb2.Resources(amounts={"CPU": 10000})


class Holder(FakeRaylet):
    """A raylet that holds, opens and gives back what it is told to.

    Attributes:
        held: By group and index, whether it is open.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.held = {}

    def fill(self, asked, answer):
        if isinstance(asked, raylet_pb2.PrepareBundlesOrder):
            for bundle in asked.bundles:
                self.held.setdefault((asked.group_id, bundle.index), False)
            answer.prepare_bundles.accepted = True
        elif isinstance(asked, raylet_pb2.CommitBundlesOrder):
            self.held.update({(asked.group_id, index): True for index in asked.indexes})
        elif isinstance(asked, raylet_pb2.ReturnBundlesOrder):
            self.give_back(asked)

    def give_back(self, asked):
        for index in asked.indexes:
            self.held.pop((asked.group_id, index), None)
        self.news.set()

    async def come_back(self, **fields):
        """Register with what is held, and give back what control says."""
        by_group = {}
        for group_id, index in self.held:
            by_group.setdefault(group_id, []).append(index)
        bundles = [control_pb2.HeldBundles(group_id=group, indexes=indexes) for group, indexes in by_group.items()]
        for unwanted in (await self.register(bundles=bundles, **fields)).return_bundles:
            self.give_back(unwanted)


@contextlib.asynccontextmanager
async def cluster(home, step, nodes=2):
    """A control that dies at that step, nodes with two CPUs each, and a job of the first one's driver."""
    control = ControlProcess(home)
    assert control.start(step) == b"\1"
    async with client_of(control.target) as client, contextlib.AsyncExitStack() as stack:
        raylets = [Holder(client, os.fspath(home / f"raylet{n}.sock")) for n in range(nodes)]
        for raylet in raylets:
            await stack.enter_async_context(raylet.serving())
            await raylet.register()
        job_id, driver = await raylets[0].job()
        yield control, client, raylets, job_id, driver
        control.kill()


async def create(client, job_id, driver, bundles=2):
    """A group with a bundle on each of two nodes; the request is repeated until it is answered, as every client does."""
    group = control_pb2.PlacementGroupInfo(
        group_id=b"g" * 14 + job_id,
        job_id=job_id,
        owner=driver.worker_id,
        strategy=control_pb2.PLACEMENT_STRATEGY_STRICT_SPREAD,
        bundles=[CPU] * bundles,
    )
    with contextlib.suppress(MantaError):  # whether the answer still came is luck
        await client.CreatePlacementGroup(group=group)
    return group.group_id


async def until(client, group_id, state):
    """Wait until the group is so; where its bundles are."""
    async with asyncio.timeout(20):
        while (found := (await client.GetPlacementGroup(group_id=group_id)).group).state != state:
            await asyncio.sleep(0.02)
        return list(found.nodes)


async def restarted(control, raylets, driver):
    assert await asyncio.to_thread(control.wait) == -signal.SIGKILL
    assert control.start("") == b"\1"
    for raylet in raylets:
        await raylet.come_back(driver_ids=[driver.worker_id])


CREATED, REMOVED = control_pb2.PLACEMENT_GROUP_STATE_CREATED, control_pb2.PLACEMENT_GROUP_STATE_REMOVED
HANDS = ["prepare", "open"]


# Nobody holds anything; one does; both do, and that is written down or not; one has opened; both have.
@pytest.mark.parametrize(
    "step",
    [
        "before-prepare-on-node:1",
        "after-prepare-on-node:1",
        "after-prepare-on-node:2",
        "before-open-on-node:1",
        "before-open-on-node:2",
        "after-open-on-node:2",
    ],
)
def test_killed_while_a_group_is_created_it_is_created_once_and_held_nowhere_else(home, step):
    async def main():
        async with cluster(home, step, nodes=3) as (control, client, raylets, job_id, driver):
            group_id = await create(client, job_id, driver)
            await restarted(control, raylets, driver)
            nodes = await until(client, group_id, CREATED)
            held = {(raylet.node_id, key): is_open for raylet in raylets for key, is_open in raylet.held.items()}
            assert held == {(node_id, (group_id, index)): True for index, node_id in enumerate(nodes)}

    asyncio.run(main())


@pytest.mark.parametrize("step", ["before-return-on-node:1", "before-return-on-node:2", "after-return-on-node:2"])
def test_killed_while_a_group_is_removed_every_node_gives_its_bundles_back(home, step):
    async def main():
        async with cluster(home, step) as (control, client, raylets, job_id, driver):
            group_id = await create(client, job_id, driver)
            await until(client, group_id, CREATED)
            with contextlib.suppress(MantaError):
                await client.RemovePlacementGroup(group_id=group_id)
            await restarted(control, raylets, driver)
            await until(client, group_id, REMOVED)
            assert [raylet.held for raylet in raylets] == [{}, {}]

    asyncio.run(main())


# Two bundles were prepared and two nodes opened theirs before the third time.
@pytest.mark.parametrize("step", [f"{when}-{what}-on-node:3" for what in HANDS for when in ("before", "after")])
def test_killed_while_a_lost_bundle_is_placed_again_the_group_is_whole_afterwards(home, step):
    async def main():
        async with cluster(home, step, nodes=3) as (control, client, raylets, job_id, driver):
            group_id = await create(client, job_id, driver)
            nodes = await until(client, group_id, CREATED)
            lost = next(raylet for raylet in raylets if raylet.node_id == nodes[1])
            assert lost is not raylets[0], "the first node, whose driver owns the group, has the first bundle"
            with contextlib.suppress(MantaError):
                await client.UnregisterNode(node_id=lost.node_id, reason="its machine is gone")
            lost.hang_up()
            left = [raylet for raylet in raylets if raylet is not lost]
            await restarted(control, left, driver)
            nodes = await until(client, group_id, CREATED)
            held = {(raylet.node_id, key): is_open for raylet in left for key, is_open in raylet.held.items()}
            assert held == {(node_id, (group_id, index)): True for index, node_id in enumerate(nodes)}

    asyncio.run(main())
