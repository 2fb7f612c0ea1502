"""How far a generator runs ahead, against the two numbers it is about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manta.worker.streams import Window

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
