"""Draining a node, as control decides it, and the demand that it tells of."""

import asyncio

import pytest

from manta.control.services import demand as demand_service
from manta.rpc.v1 import common_pb2, control_pb2
from tests.unit.control.handlers import Control

HEAD, FIRST, SECOND = b"h" * 28, b"1" * 28, b"2" * 28
CPUS = common_pb2.Resources(amounts={"CPU": 20000})


def node(node_id, **fields):
    return "RegisterNode", {
        "node": control_pb2.NodeInfo(node_id=node_id, raylet_target="unix:/nowhere", total=CPUS, **fields)
    }


def drained(calls, *more, nodes=((HEAD, True), (FIRST, False), (SECOND, False))):
    """What control answers to calls, the last one's answer last, and control itself."""

    async def main():
        control = Control()
        await control.prepare([node(node_id, head=head) for node_id, head in nodes])
        replies = [await control.call(name, control.request(name, fields)) for name, fields in (calls, *more)]
        control.state.validate()
        return control, replies

    return asyncio.run(main())


def drain(node_id=FIRST, grace_ms=60_000, reason="kernel"):
    return "DrainNode", {"node_id": node_id, "grace_ms": grace_ms, "reason": reason}


def test_a_drain_is_written_and_told_to_every_node():
    control, (reply,) = drained(drain())
    assert reply.drain.state == control_pb2.DRAIN_STATE_DRAINING
    assert control.state.nodes.rows[FIRST].drain.reason == "kernel"
    assert FIRST in control.state.nodes.cluster.since(None).facts
    assert FIRST not in {view.node_id for view in control.state.nodes.views()}


@pytest.mark.parametrize(("second", "left"), [(90_000, 60_000), (5_000, 5_000)])
def test_of_two_drains_the_shorter_grace_holds(second, left):
    control, (_, reply) = drained(drain(), drain(grace_ms=second, reason="other"))
    assert (reply.drain.grace_ms, reply.drain.reason) == (left, "kernel")
    assert control.state.nodes.next_due() is not None


def test_a_node_that_has_left_is_drained():
    _, replies = drained(drain(), ("UnregisterNode", {"node_id": FIRST, "reason": "it was drained"}), drain())
    assert replies[-1].drain.state == control_pb2.DRAIN_STATE_DRAINED
    assert not replies[-1].HasField("holds")


@pytest.mark.parametrize(
    ("call", "nodes", "text"),
    [
        (drain(HEAD), ((HEAD, True), (FIRST, False)), "FAILED_PRECONDITION: this is the head's own node"),
        (drain(FIRST), ((FIRST, False),), "FAILED_PRECONDITION: no other node takes work"),
        (drain(b"x" * 28), ((FIRST, False),), "NOT_FOUND: node"),
        (drain(b"x"), ((FIRST, False),), "INVALID_ARGUMENT: node_id must have 28 bytes"),
        (drain(grace_ms=1 << 31), ((HEAD, True), (FIRST, False)), "INVALID_ARGUMENT: grace_ms is 2147483648"),
    ],
)
def test_what_cannot_be_drained_is_refused_by_name(call, nodes, text):
    _, (reply,) = drained(call, nodes=nodes)
    assert reply.startswith(text)


def test_the_demand_sums_what_nodes_report_and_names_what_no_node_can_give():
    gpu = common_pb2.Resources(amounts={"GPU": 10000})
    load = control_pb2.NodeLoad(
        objects=3,
        object_bytes=1 << 40,
        pending=[
            control_pb2.PendingShape(resources=CPUS, count=5, name="f"),
            control_pb2.PendingShape(resources=gpu, count=1, name="g", infeasible="no node has GPU"),
        ],
    )
    beats = [("Heartbeat", {"node_id": each, "number": 1, "available": CPUS, "load": load}) for each in (FIRST, SECOND)]
    _, replies = drained(*beats, ("GetDemand", {}))
    found = replies[-1].demand
    assert [(each.count, each.name, each.infeasible) for each in found.tasks] == [
        (10, "f", ""),
        (2, "g", "no node has GPU"),
    ]
    assert {each.node_id: (each.objects, bool(each.idle_since_unix_ms)) for each in found.nodes} == {
        HEAD: (0, False),
        FIRST: (3, True),
        SECOND: (3, True),
    }


def test_hostile_counts_and_lists_stay_within_the_wire():
    most = (1 << 64) - 1
    shapes = [control_pb2.PendingShape(resources=CPUS, count=most, name="x" * 10_000) for _ in range(500)]
    shapes += [
        control_pb2.PendingShape(resources=common_pb2.Resources(amounts={f"r{n}": 1}), count=n) for n in range(500)
    ]
    load = control_pb2.NodeLoad(pending=shapes)
    beats = [("Heartbeat", {"node_id": each, "number": 1, "available": CPUS, "load": load}) for each in (FIRST, SECOND)]
    _, replies = drained(*beats, ("GetDemand", {}))
    (row,) = replies[-1].demand.tasks
    assert (row.count, len(row.name)) == (most, 200)


class Watched:
    """A stream of WatchDemand, and how often control has looked."""

    def __init__(self, control, monkeypatch):
        self.looks = 0

        def counted(state):
            self.looks += 1
            return real(state)

        real = demand_service.demand
        monkeypatch.setattr(demand_service, "demand", counted)
        monkeypatch.setattr(demand_service, "PERIOD_S", 0.5)
        self.end = asyncio.Event()

        async def requests():
            await self.end.wait()
            for never in ():
                yield never

        self.service = demand_service.DemandRpcs(control.runner)
        self.stream = self.service.WatchDemand(requests(), "test")

    async def next(self):
        async with asyncio.timeout(10):
            return (await anext(self.stream)).demand


def heartbeat(control, number, tasks, node_id=FIRST):
    load = control_pb2.NodeLoad(tasks=tasks)
    return control.call(
        "Heartbeat",
        control_pb2.HeartbeatRequest(node_id=node_id, number=number, available=CPUS, load=load).SerializeToString(),
    )


def test_who_watches_the_demand_is_woken_by_what_changes(monkeypatch):
    """Many changes are told together, what changes nothing is not looked at, and nobody looks when nobody watches."""

    async def main():
        control = Control()
        await control.prepare([node(HEAD, head=True), node(FIRST)])
        watched = Watched(control, monkeypatch)
        first = await watched.next()
        assert [row.idle_since_unix_ms for row in first.nodes] == [0, 0]
        for number in range(1, 40):
            await heartbeat(control, number, number % 3)
        assert (await watched.next()).nodes[1].idle_since_unix_ms == 1
        assert watched.looks == 2
        for number in range(40, 60):
            await heartbeat(control, number, 0)
        assert watched.service._timer is None, "nothing has changed, and nobody is about to look"
        waits = asyncio.ensure_future(watched.next())
        await control.call("DrainNode", control.request(*drain()))
        assert (await waits).nodes[1].drain.reason == "kernel"
        watched.end.set()
        with pytest.raises(StopAsyncIteration):
            await watched.next()
        assert control.runner.on_changed is None

    asyncio.run(main())


def test_the_head_s_own_node_is_drained_where_it_is_leaving_itself():
    """In a pod: its process was told to end, and the cluster does not end with it. A tool is refused as ever."""
    name, fields = drain(HEAD)
    control, (reply,) = drained((name, {**fields, "leaving": True}))
    assert reply.drain.state == control_pb2.DRAIN_STATE_DRAINING
    assert HEAD not in {view.node_id for view in control.state.nodes.views()}
