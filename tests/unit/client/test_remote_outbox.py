"""What a driver outside says: gathered, and in the order in which it was said."""

from __future__ import annotations

import math

import pytest

from manta.client.remote.outbox import GATHER_CALLS, Outbox
from manta.rpc.v1 import gateway_pb2 as gw


@pytest.fixture
def said() -> list[gw.ConnectRequest]:
    return []


@pytest.fixture
def outbox(said: list[gw.ConnectRequest]) -> Outbox:
    outbox = Outbox(lambda: None, lambda waiter: None)
    outbox.pass_on = lambda data: said.append(gw.ConnectRequest.FromString(bytes(data)))  # type: ignore[arg-type]
    outbox.call(b"", 1, bytes(24), b"first")
    said.clear()
    # Something went out a moment ago, so that what follows gathers, however slow the machine.
    outbox._sent_at = math.inf
    return outbox


def in_words(message: gw.ConnectRequest) -> list[str]:
    words = []
    for action in message.actions:
        match action.WhichOneof("kind"):
            case "submit":
                words.append("calls " + b" ".join(action.submit.args).decode())
            case "release":
                words.append("release " + b" ".join(action.release.object_ids).decode())
            case kind:
                words.append(str(kind))
    return words


def test_calls_and_releases_keep_their_order(outbox, said):
    outbox.call(b"", 1, bytes(24), b"A")
    outbox.release([b"1"])
    outbox.release([b"2"])
    outbox.call(b"", 1, bytes(24), b"B")
    outbox.call(b"", 2, bytes(24), b"C")
    outbox.say(gw.DriverAction(hold=gw.HoldObjects(object_ids=[b"1"], owners=[b""])))
    outbox.release([b"3"])
    outbox.call(b"actor", 3, bytes(24), b"D")
    outbox.call(b"other", 3, bytes(24), b"E")
    outbox.flush()

    (message,) = said
    assert in_words(message) == ["calls A", "release 1 2", "calls B C", "hold", "release 3", "calls D", "calls E"]
    assert [list(action.submit.templates) for action in message.actions if action.HasField("submit")] == [
        [1],
        [1, 2],
        [3],
        [3],
    ]
    assert message.number == 2


def test_a_release_alone_is_said_too(outbox, said):
    outbox.release([b"1"])
    outbox.flush()
    outbox.flush()
    assert [in_words(message) for message in said] == [["release 1"]]


def test_as_many_calls_as_fit_into_a_message_go_out_by_themselves(outbox, said):
    extra = gw.SubmitExtra(held=[b"x"])
    outbox.call(b"", 1, bytes(24), b"", extra)
    for _ in range(GATHER_CALLS - 1):
        outbox.call(b"", 1, bytes(24), b"")
    (message,) = said
    (action,) = message.actions
    assert len(action.submit.args) == GATHER_CALLS
    assert list(action.submit.templates) == [1]
    assert [(one.index, list(one.held)) for one in action.submit.extras] == [(0, [b"x"])]
