"""Gathered results: none is lost, their order is kept, and none waits longer than it may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manta.rpc.v1 import channel_pb2 as pb
from manta.worker.outbox import HOLD_BYTES, HOLD_NS, Outbox

#: Plain values (a size) and extras (None) with the time that passes before each, and flushes (-1).
STEPS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.just(-1), st.sampled_from([0, 1, 100, HOLD_BYTES // 2, HOLD_BYTES])),
        st.sampled_from([0, 1, HOLD_NS // 2, HOLD_NS, HOLD_NS + 1]),
    ),
    max_size=30,
)


def oid(number: int) -> bytes:
    return number.to_bytes(28, "big")


def read(frame: pb.TaskResults) -> list[tuple[bytes, object]]:
    """A frame's results as its receiver sees them."""
    extras = {extra.index: extra.stream_length for extra in frame.extras}
    ids = [frame.ids[at : at + 28] for at in range(0, len(frame.ids), 28)]
    assert len(ids) == len(frame.values) == len(frame.micros)
    return [
        (one, ("extra", extras[place]) if place in extras else len(value))
        for place, (one, value) in enumerate(zip(ids, frame.values, strict=True))
    ]


@given(STEPS)
def test_everything_that_was_added_leaves_once_and_in_order(steps):
    """The twin keeps a list of what gathers, and when the first of it was finished."""
    outbox = Outbox(None, 7)
    now, sent, expected = 1, [], []
    gathered: list[tuple[bytes, object]] = []
    oldest = size = 0

    def flush():
        nonlocal size
        frame = outbox.take()
        assert frame.lease_id == 7
        sent.extend(read(frame))
        expected.extend(gathered)
        gathered.clear()
        size = 0

    for number, (what, passes) in enumerate(steps):
        now += passes
        if what == -1:
            if outbox.since:
                flush()
            assert not outbox.since
            continue
        if not gathered:
            oldest = now
        if what is None:
            extra = pb.ResultExtra(stream_length=number)
            outbox.add_extra(oid(number), extra, 1, now)
            size += extra.ByteSize()
            gathered.append((oid(number), ("extra", number)))
        else:
            outbox.add(oid(number), b"x" * what, 1, now)
            size += what
            gathered.append((oid(number), what))
        assert outbox.since == oldest
        assert outbox.due(now) == (now - oldest > HOLD_NS or size > HOLD_BYTES)
    if outbox.since:
        flush()
    assert sent == expected
    assert not outbox.due(now + 10 * HOLD_NS), "nothing is never due"


def test_large_extras_count_as_what_has_gathered():
    outbox = Outbox(None, 0)
    returned = pb.ReturnValue(value=b"x" * (HOLD_BYTES + 1))

    outbox.add_extra(oid(1), pb.ResultExtra(returns=[returned]), 1, 5)

    assert outbox.due(5)
