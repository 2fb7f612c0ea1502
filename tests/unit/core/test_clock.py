import pytest

from manta.core.clock import Clock, ManualClock, SystemClock


def test_the_systems_clock_does_not_go_back():
    clock: Clock = SystemClock()
    first = clock.now()

    assert clock.now() >= first
    assert clock.wall() > 1_600_000_000


def test_a_manual_clock_goes_where_it_is_sent():
    clock: Clock = ManualClock(now=5.0, wall=100.0)
    assert isinstance(clock, ManualClock)

    assert clock.advance(2.5) == clock.now() == 7.5
    assert clock.wall() == 102.5
    clock.jump_wall(-50)
    assert (clock.now(), clock.wall()) == (7.5, 52.5)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
