"""How far a generator runs ahead, against the two numbers it is about."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from manta.rpc.v1 import channel_pb2 as pb
from manta.worker.streams import Stream, Window

EVENTS = st.lists(st.one_of(st.just("make"), st.tuples(st.integers(0, 12), st.booleans())), max_size=40)


@given(st.integers(0, 4), EVENTS)
def test_it_is_never_further_ahead_than_allowed_and_never_held_for_nothing(ahead, events):
    window = Window(ahead)
    made, acknowledged, stopped = 0, [0], False
    for event in events:
        if event == "make":
            if not window.open():
                continue
            made += 1
            window.made += 1
            if ahead and not stopped:
                assert made - max(acknowledged) <= ahead
        else:
            count, stop = event
            count = min(count, made)  # nobody reads what was not made
            acknowledged.append(count)
            stopped = stopped or stop
            window.consumed(count, stop=stop)
        assert window.open() == (stopped or not ahead or made - max(acknowledged) < ahead)
        assert window.stopped == stopped


def test_a_generator_pauses_while_nobody_reads_the_connection_and_goes_on_when_its_reader_has_left():
    """However far its reader allows it to run ahead."""
    woken: list[str] = []
    session: Any = SimpleNamespace(lock=contextlib.nullcontext())
    executor: Any = SimpleNamespace(session=session, streams={})
    link: Any = SimpleNamespace(full=False)
    now: Any = SimpleNamespace(oid=bytes(28), template=SimpleNamespace(definition=pb.DefineTemplate()))
    stream = Stream(executor, link, now, [])
    stream.on_open = lambda: woken.append("on")

    assert stream.open()
    link.full = True
    assert not stream.open()
    stream.consumed(1, stop=False)
    assert not woken

    link.full = False
    stream.look()
    assert woken == ["on"]

    link.full = True
    stream.consumed(1, stop=True)
    assert woken == ["on", "on"]
