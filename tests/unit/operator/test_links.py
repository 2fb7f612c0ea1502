"""What the tie to a cluster's control makes of control's answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from manta.core.errors import MantaError
from manta_operator.control.links import Link
from manta_operator.control.nodes import Draining, Node, NodeState

NODE = Node(b"n", "uid", "demo-w-0", NodeState.ALIVE)


def error(code):
    made = MantaError(code)
    made.__dict__["code"] = code
    return made


class Answers:
    """A client of control that answers as it is told."""

    def __init__(self, answer):
        self.answer = answer

    async def drain(self, node_id, *, grace_s, reason):
        if isinstance(self.answer, MantaError):
            raise self.answer
        return self.answer

    async def idle(self):
        if isinstance(self.answer, MantaError):
            raise self.answer
        return self.answer


def tied(answer):
    """A tie that has heard of one node."""
    changes = []
    link = Link(None, lambda: changes.append(True))
    link._learn([NODE])
    link._client = Answers(answer)
    changes.clear()
    return link, changes


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        (Draining.DRAINING, set()),
        (error("DRAIN_REFUSED"), {b"n"}),
        (error("NODE_NOT_FOUND"), set()),
        (error("CONTROL_UNAVAILABLE"), set()),
    ],
)
def test_only_controls_own_no_is_a_refusal(answer, refused):
    """It is said to people; a moment's trouble on the network is not."""
    link, changes = tied(answer)

    async def ask():
        link.drain(b"n", grace_s=1.0, reason="scale down")
        await asyncio.gather(*link._drains.values())

    asyncio.run(ask())
    assert (set(link.refused), changes, link._drains) == (refused, [True], {})


@pytest.mark.parametrize(("answer", "idle"), [({b"n": True}, {b"n": True}), (error("CONTROL_UNAVAILABLE"), {})])
def test_who_is_idle_is_asked_and_can_be_done_without(answer, idle):
    """A decision waits for it."""
    link, _ = tied(answer)
    assert asyncio.run(link.idle()) == idle
    link._client = None
    assert asyncio.run(link.idle()) == {}


def test_processes_that_ended_for_want_of_memory_come_as_news_of_their_node():
    """The same count again is no news."""
    link, changes = tied(None)
    counted = replace(NODE, oom_kills=2, oom_at=9.0)
    link._learn(counted)
    link._learn(counted)
    assert (link.nodes, changes) == ((counted,), [True])
