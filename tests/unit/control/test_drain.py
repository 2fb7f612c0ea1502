"""Draining a node, as control decides it, and the demand that it tells of."""

import asyncio

import pytest

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
