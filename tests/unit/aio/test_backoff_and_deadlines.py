import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.aio.backoff import Backoff
from manta.aio.deadlines import NEVER, Deadline


def test_delays_double_up_to_the_cap():
    assert [Backoff(0.1, 2.0, 0.5, 0.0).delay_s(n, 0.7) for n in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_never_negative_nor_above_the_cap(attempt, unit):
    assert 0 <= Backoff().delay_s(attempt, unit) <= Backoff().cap_s


def test_nonsense_is_refused_with_what_would_be_right():
    with pytest.raises(ValueError, match="factor >= 1"):
        Backoff(factor=0.5)


def test_a_deadline_is_a_point_in_time():
    deadline = Deadline.after(2.0, now=10.0)
    assert (deadline.remaining_s(11.5), deadline.remaining_s(99.0)) == (0.5, 0.0)
    assert (deadline.expired(11.9), deadline.expired(12.0)) == (False, True)
    assert deadline.earlier(NEVER) is deadline
    assert Deadline.after(None, now=1.0) == NEVER
    assert NEVER.remaining_s(1e9) == math.inf


def test_a_timeout_block_ends_at_the_deadline():
    async def main():
        with pytest.raises(TimeoutError):
            async with Deadline.after(0.0, asyncio.get_running_loop().time()).timeout():
                await asyncio.Event().wait()
        async with NEVER.timeout():
            pass

    asyncio.run(main())
