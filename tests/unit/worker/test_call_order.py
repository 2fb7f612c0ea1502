"""Which calls an actor takes, against a list of everything that it took."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from manta.worker.call_order import Admission, CallOrder

ME, LIFE = b"actor", 3

CALLERS = st.tuples(st.sampled_from([b"w1", b"w2"]), st.integers(1, 2))
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("calls"), CALLERS, st.integers(0, 8), st.integers(1, 3), st.sampled_from([LIFE, LIFE, 2, 4])),
        st.tuples(st.just("dies"), st.sampled_from([b"w1", b"w2"])),
    ),
    max_size=40,
)


@given(EVENTS)
def test_each_caller_s_calls_run_once_in_its_order_in_the_life_they_are_for(events):
    order = CallOrder(ME, LIFE)
    took: dict[tuple[bytes, int], list[int]] = defaultdict(list)
    for event in events:
        if event[0] == "dies":
            order.forget(event[1])
            for caller in [caller for caller in took if caller[0] == event[1]]:
                del took[caller]
            continue
        _, caller, first, count, life = event
        numbers = list(range(first, first + count))
        before = list(took[caller])
        verdict = order.admit(ME, life, caller, first, count)
        if life != LIFE:
            assert verdict is Admission.OTHER_LIFE
        elif numbers == list(range(len(before), len(before) + count)):
            assert verdict is Admission.NEXT
            took[caller] += numbers
        elif set(numbers) & set(before):
            assert verdict is Admission.REPEATED
        else:
            assert verdict is Admission.GAP
        assert took[caller] == list(range(len(took[caller]))), "gapless"
        assert order.next_of(caller) == len(took[caller])


def test_another_actor_s_calls_are_refused():
    assert CallOrder(ME, LIFE).admit(b"other", LIFE, (b"w1", 1), 0, 1) is Admission.OTHER_LIFE


def test_the_dead_are_forgotten():
    """An actor lives long, its callers may not."""
    order = CallOrder(ME, LIFE)
    for number in range(100):
        assert order.admit(ME, LIFE, (b"%d" % number, 1), 0, 5) is Admission.NEXT
        order.forget(b"%d" % number)

    assert not order._next
