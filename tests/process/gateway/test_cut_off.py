"""A connection that breaks loses nothing and runs nothing twice; one that stays away for too long ends its session."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest

import manta
from manta.core import errors
from tests.support import gateway
from tests.support.cuts import Cuts, Cutter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


@pytest.fixture
def cuts(door, monkeypatch):
    """A driver whose connection the test can cut."""
    for name, text in door.environment.items():
        monkeypatch.setenv(name, text)
    cuts = Cuts(door.port)
    try:
        manta.init(f"manta://127.0.0.1:{cuts.port}")
        yield cuts
        manta.shutdown()
    finally:
        cuts.close()


@manta.remote
class Counter:
    def __init__(self):
        self.count = 0

    def up(self):
        self.count += 1
        return self.count


def test_calls_go_on_over_cuts_each_run_once_and_in_order(cuts):
    counter = Counter.remote()
    assert manta.get(counter.up.remote()) == 1
    refs = []
    with Cutter(cuts.cut, 0.1):
        end = time.monotonic() + 2.0
        while time.monotonic() < end or cuts.count <= 3:
            refs += [counter.up.remote() for _ in range(50)]
            manta.get(refs[-1])
    assert manta.get(refs) == list(range(2, len(refs) + 2))
    assert cuts.count > 3


def test_a_large_value_arrives_over_cuts_byte_by_byte(cuts):
    value = bytes(range(256)) * 100_000
    with Cutter(cuts.cut, 0.15):
        assert manta.get(manta.put(value)) == value


def test_items_of_a_stream_come_once_each_over_cuts(cuts):
    @manta.remote
    def items():
        yield from range(300)

    seen = []
    for number, ref in enumerate(items.remote()):
        if number % 60 == 30:
            cuts.cut()
        seen.append(manta.get(ref))
    assert seen == list(range(300))


def test_calls_made_while_cut_off_run_when_the_connection_is_back(cuts):
    @manta.remote
    def double(x):
        return 2 * x

    assert manta.get(double.remote(1)) == 2
    cuts.closed = True
    cuts.cut()
    refs = [double.remote(number) for number in range(100)]
    assert manta.wait(refs, timeout=0.2)[0] == []
    cuts.closed = False
    assert manta.get(refs) == [2 * number for number in range(100)]


def test_a_driver_that_stays_away_for_longer_than_the_grace_hears_that_its_session_is_gone(cuts, door):
    ref = manta.put(1)
    cuts.closed = True
    cuts.cut()
    pending = Counter.remote().up.remote()
    with pytest.raises(errors.RaySystemError, match="is lost, and all it owned"):
        manta.get(pending, timeout=20)
    with pytest.raises(errors.RaySystemError):
        manta.get(Counter.remote().up.remote(), timeout=20)
    del ref


def test_the_death_of_a_sessions_process_is_said_at_once(cuts, door):
    for pid in wait_until(lambda: gateway.session_processes(door), what="a session's process"):
        with suppress(ProcessLookupError):  # of the driver before, which may be about to end
            os.kill(pid, signal.SIGKILL)
    with pytest.raises(errors.MantaError, match="no such session"):
        manta.get(Counter.remote().up.remote(), timeout=20)
