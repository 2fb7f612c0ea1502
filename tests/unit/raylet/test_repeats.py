"""What a node is told and asked ends as it does when told once, whatever becomes of it on the way.

Every order and every RPC x {request lost, reply lost, duplicate in flight, given up, delayed, overtaken}. The rows come from the
descriptors: an order or an RPC without one fails the first test.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import pytest

from manta.rpc.v1 import common_pb2, raylet_pb2
from tests.unit.raylet.orders import ASKED, RPCS, Node

JOB, OTHER_JOB = b"\1\0\0\0", b"\2\0\0\0"
ALIVE, QUEUED, BEGINNING, NEW = (bytes([n]) * 12 + JOB for n in (1, 2, 3, 4))
CPU = common_pb2.Resources(amounts={"CPU": 10_000})
TWO_CPUS = common_pb2.Resources(amounts={"CPU": 20_000})
TOO_MUCH = common_pb2.Resources(amounts={"CPU": 640_000})


def start(actor_id: bytes, incarnation: int = 1, **fields: Any) -> dict[str, Any]:
    return dict(
        actor_id=actor_id, incarnation=incarnation, epoch=1, **{"job_id": JOB, "place": CPU, "hold": CPU, **fields}
    )


def kill(actor_id: bytes, incarnation: int = 1, **fields: Any) -> dict[str, Any]:
    return dict(actor_id=actor_id, incarnation=incarnation, **fields)


GROUP = b"g" * 18
LITTLE = common_pb2.Resources(amounts={"CPU": 1_000})


def prepare(amounts: common_pb2.Resources, index: int = 0) -> dict[str, Any]:
    return {"group_id": GROUP, "bundles": [raylet_pb2.Bundle(index=index, amounts=amounts)]}


#: What there is before each row's call: one actor lives, one waits for a process, one for CPUs.
BEFORE = [
    ("start_actor", start(ALIVE)),
    ("worker_connects", (1,)),
    ("actor_started", (1, ALIVE, 1)),
    ("start_actor", start(BEGINNING, place=CPU, hold=common_pb2.Resources())),
    ("start_actor", start(QUEUED, place=TWO_CPUS)),
]


@dataclass(frozen=True)
class Row:
    """One order or call, and what else happens between it and its delayed repetition."""

    fields: dict[str, Any] = field(default_factory=dict)
    then: tuple[tuple[str, Any], ...] = ()


ROWS: dict[str, dict[str, Row]] = {
    "start_actor": {
        "new": Row(start(NEW, hold=common_pb2.Resources()), (("kill_actor", kill(NEW)),)),
        "of a job that was never seen": Row(
            start(NEW, job_id=OTHER_JOB, detached=True), (("finish_job", {"job_id": OTHER_JOB}),)
        ),
        "of what the node does not have": Row(
            start(NEW, place=TOO_MUCH), (("start_actor", start(NEW, incarnation=2)),)
        ),
        "of what ended since": Row(start(NEW, incarnation=7), (("kill_actor", kill(NEW, incarnation=7)),)),
        "by a control that was replaced": Row({**start(NEW), "epoch": 0}),
    },
    "kill_actor": {
        "alive": Row(
            kill(ALIVE),
            (("worker_died", (1,)), ("start_actor", start(ALIVE, incarnation=2)), ("worker_connects", (2,))),
        ),
        "gracefully": Row(
            kill(ALIVE, graceful=True), (("worker_died", (1,)), ("start_actor", start(ALIVE, incarnation=2)))
        ),
        "beginning": Row(kill(BEGINNING), (("start_actor", start(BEGINNING, incarnation=2)),)),
        "queued": Row(kill(QUEUED), (("start_actor", start(QUEUED, incarnation=2)),)),
        "before its start": Row(kill(NEW), (("start_actor", start(NEW, incarnation=2)),)),
    },
    "finish_job": {
        "running": Row({"job_id": JOB}, (("start_actor", start(NEW, job_id=OTHER_JOB)),)),
        "unknown": Row({"job_id": OTHER_JOB}, (("start_actor", start(NEW)),)),
    },
    # Orders of one node are repeated in order: what is held back is never said again after it was given back.
    "prepare_bundles": {"": Row(prepare(LITTLE)), "of what is not free": Row(prepare(TOO_MUCH))},
    "commit_bundles": {"of what is not held": Row({"group_id": GROUP, "indexes": [0]})},
    "return_bundles": {"": Row({"group_id": GROUP, "indexes": [0]}, (("prepare_bundles", prepare(LITTLE, index=1)),))},
    "Ping": {"": Row()},
    "GetStats": {"": Row()},
}
CASES = [
    pytest.param(name, row, id=f"{name} {what}".strip()) for name, rows in ROWS.items() for what, row in rows.items()
]


async def lost_request(node: Node, name: str, encoded: bytes) -> list[Any]:
    """The first delivery never happens; the repetition does."""
    return [await node.call(name, encoded)]


async def lost_reply(node: Node, name: str, encoded: bytes) -> list[Any]:
    """It was executed, nobody heard; control repeats, twice."""
    return [await node.call(name, encoded) for _ in range(3)]


async def duplicate_in_flight(node: Node, name: str, encoded: bytes) -> list[Any]:
    """Three deliveries at a time."""
    return await asyncio.gather(*(node.call(name, encoded) for _ in range(3)))


async def given_up(node: Node, name: str, encoded: bytes) -> list[Any]:
    """Control gave up while it was executed, then repeats."""
    call = asyncio.ensure_future(node.call(name, encoded))
    await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    return [await node.call(name, encoded)]


FAULTS = {fault.__name__: fault for fault in (lost_request, lost_reply, duplicate_in_flight, given_up)}


def test_every_order_and_rpc_has_a_row():
    assert set(ROWS) == set(ASKED)


async def single(name: str, row: Row) -> tuple[Node, Any]:
    node = Node()
    await node.prepare(BEFORE)
    reply = await node.call(name, node.request(name, row.fields))
    assert not isinstance(reply, str), reply
    return node, reply


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("name", "row"), CASES)
def test_it_ends_as_a_single_call_does(name, row, fault):
    async def main() -> None:
        expected, reply = await single(name, row)
        node = Node()
        await node.prepare(BEFORE)
        replies = await FAULTS[fault](node, name, node.request(name, row.fields))
        assert expected.picture() == node.picture()
        assert [reply] * len(replies) == replies

    asyncio.run(main())


@pytest.mark.parametrize(("name", "row"), CASES)
def test_a_delivery_that_comes_after_later_events_undoes_none_of_them(name, row):
    """Delayed, or overtaken after control gave up and went on."""

    async def main() -> None:
        expected, _ = await single(name, row)
        await expected.prepare(row.then)
        node = Node()
        await node.prepare(BEFORE)
        encoded = node.request(name, row.fields)
        await node.call(name, encoded)
        await node.prepare(row.then)
        await node.call(name, encoded)
        assert expected.picture() == node.picture()

    asyncio.run(main())


def test_a_call_that_was_meant_for_another_node_is_refused():
    """An address may have belonged to another node before. Orders come on a line that the node itself has opened."""

    async def main() -> None:
        node = Node()
        for name, request in RPCS.items():
            if "node_id" in request.fields_by_name:
                refused = await node.call(name, node.request(name, {"node_id": b"o" * 28}))
                assert isinstance(refused, str)
                assert refused.startswith("FAILED_PRECONDITION: this is node")

    asyncio.run(main())
