"""A node that lies about itself is refused by name, or believed and harmless: nothing of what control holds breaks."""

from __future__ import annotations

import asyncio

import pytest

from manta.control import convert
from manta.rpc.v1 import common_pb2, control_pb2
from manta.transport.channel import PROTOCOL
from tests.unit.control.handlers import Control
from tests.unit.control.test_repeats import BEFORE, NODE, TWO_CPUS, creation

LIAR = b"l" * 28


def info(node_id=LIAR, **fields):
    return {
        "node": control_pb2.NodeInfo(**{"node_id": node_id, "raylet_target": "unix:/l", "total": TWO_CPUS, **fields})
    }


def amounts(**values):
    return common_pb2.Resources(amounts=values)


REFUSED = {
    "a negative amount": (info(total=amounts(CPU=-1)), "node.total['CPU'] is -1"),
    "the most negative": (info(total=amounts(CPU=-(2**63))), "must be between 0 and"),
    "more than there can be": (info(total=amounts(memory=2**63 - 1)), "must be between 0 and"),
    "free but negative": (info(available=amounts(CPU=-5)), "node.available['CPU'] is -5"),
    "endlessly many": (info(total=amounts(**{f"r{n}": 1 for n in range(convert.MOST_RESOURCES + 1)})), "names 20001 resources"),
    "an endless name": (info(total=amounts(**{"x" * 5000: 1})), "a name in node.total has 5000"),
    "endless labels": (info(labels={f"l{n}": "v" for n in range(convert.MOST_LABELS + 1)}), "node.labels has 1001"),
    "an endless label": (info(labels={"l": "v" * 5000}), "at most 4096"),
    "no id": (info(b""), "node.node_id must have 28 bytes, not 0"),
    "too long an id": (info(b"l" * 29), "node.node_id must have 28 bytes, not 29"),
    "another python": ({**info(), "python": "2.7.18"}, "this node runs Python 2.7.18"),
    "an old protocol": ({**info(), "protocol": PROTOCOL + 1}, f"this node speaks protocol {PROTOCOL + 1}"),
}  # fmt: skip


@pytest.mark.parametrize("lie", REFUSED)
def test_a_lie_is_refused_and_changes_nothing(lie):
    fields, words = REFUSED[lie]

    async def main():
        control = Control()
        await control.prepare(BEFORE)
        before = control.picture()
        refused = await control.call("RegisterNode", control.request("RegisterNode", fields))
        assert isinstance(refused, str)
        assert words in refused
        assert control.picture() == before

    asyncio.run(main())


HUGE = amounts(CPU=convert.MOST, memory=convert.MOST, absurd=convert.MOST)


@pytest.mark.parametrize(
    "claim",
    [
        info(total=HUGE),
        info(total=amounts()),
        info(total=TWO_CPUS, available=HUGE),
        info(total=amounts(CPU=0), available=amounts(CPU=0)),
        info(total=amounts(**{"CPU_group_0_x": 10_000, "../etc": 1, "": 1, "<b>": 1})),
        info(NODE, total=HUGE, raylet_target="unix:/elsewhere"),
        info(head=True),
    ],
    ids=["all there can be", "nothing", "more free than there is", "zero", "odd names", "an id that is taken", "a second head"],
)  # fmt: skip
def test_what_is_believed_breaks_nothing(claim):
    """Whoever has the join file may lie about what it has: work that goes there comes back."""

    async def main():
        control = Control()
        await control.prepare(BEFORE)
        await control.prepare([("RegisterNode", claim), ("RegisterNode", claim)])
        node_id = claim["node"].node_id
        for number in (1, 5, 3):
            heartbeat = {"node_id": node_id, "number": number, "available": HUGE, "total": HUGE}
            await control.prepare([("Heartbeat", heartbeat)])
        await control.prepare(
            [("CreateActor", creation(bytes([9, n]) * 6 + b"\1\0\0\0", name=str(n))) for n in range(3)]
        )
        for name in ("ClusterResources", "ListNodes", "GetDemand", "GetStatistics", "ListActors"):
            await control.prepare([(name, {})])
        await control.prepare([("UnregisterNode", {"node_id": node_id, "reason": "enough"})])
        control.picture()

    asyncio.run(main())
