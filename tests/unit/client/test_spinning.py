"""How long whoever waits looks before it sleeps, on a clock and a kernel of the test's own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from manta.client import pump as pumps
from manta.client.pump import LONG_SPIN_S, SPIN_AGAIN, SPIN_MISSES, SPIN_S, Pump

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a look takes, and waking up, seconds.
LOOK_S, WAKING_S = 0.000_005, 0.000_04


class Kernel:
    """Stands in for epoll and the clock: something comes so long after a wait begins."""

    def __init__(self) -> None:
        self.now = self.due = 1000.0
        self.slept = self.looks = 0

    def monotonic(self) -> float:
        return self.now

    def poll(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        if timeout == 0:
            self.looks += 1
            self.now += LOOK_S
            return [(99, 1)] if self.now >= self.due else []
        self.slept += 1
        self.now = max(self.now, self.due) + WAKING_S
        return [(99, 1)]


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def pump(kernel, monkeypatch) -> Iterator[Pump]:
    pump = Pump(threading.RLock())
    monkeypatch.setattr(pumps, "time", kernel)
    real, pump._epoll = pump._epoll, kernel
    yield pump
    pump._epoll = real
    monkeypatch.undo()
    pump.close()


def waits(pump: Pump, kernel: Kernel, *after_s: float) -> list[bool]:
    """Whether it slept, of waits for things that come so long after."""
    found = []
    for each in after_s:
        slept = kernel.slept
        kernel.due = kernel.now + each
        pump._patient_round(None)
        found.append(kernel.slept > slept)
    return found


def test_what_comes_within_the_spin_wakes_nobody(pump, kernel):
    assert waits(pump, kernel, *[SPIN_S / 2] * 5) == [False] * 5


def test_what_comes_again_and_again_soon_after_is_looked_for_a_little_longer(pump, kernel):
    soon = (SPIN_S + LONG_SPIN_S) / 2
    assert waits(pump, kernel, *[soon] * 6) == [True, True, False, False, False, False]
    assert waits(pump, kernel, 1.0, soon) == [True, True], "until something took long"


def test_who_waits_for_two_things_in_turn_looks_for_neither_longer(pump, kernel):
    soon = (SPIN_S + LONG_SPIN_S) / 2
    assert waits(pump, kernel, *[soon, 0.001] * 20) == [True] * 40
    assert kernel.looks * LOOK_S < 6 * SPIN_S


def test_who_looks_in_vain_looks_seldom(pump, kernel):
    waits(pump, kernel, *[0.01] * SPIN_MISSES)
    looks = kernel.looks
    waits(pump, kernel, *[0.01] * (SPIN_AGAIN - SPIN_MISSES - 1))
    assert kernel.looks == looks, "it slept at once"
    waits(pump, kernel, 0.01)
    assert kernel.looks > looks
