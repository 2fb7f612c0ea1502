"""What a wait does beside waiting."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from manta.client.patience import Patient
from manta.client.signals import Interrupts
from manta.client.waiter import Waiter


class Pump:
    """Has nothing for anybody."""

    def wait(self, waiter: Waiter, deadline: float | None) -> bool:
        return False


class Session(Patient):
    def __init__(self) -> None:
        self.pump = Pump()
        self.interrupts = Interrupts(lambda: None, lambda: None)
        self.now = lambda: 0.0
        self.closed = False
        self.broken = None
        self._main = threading.main_thread().ident


def test_an_interrupt_is_the_main_thread_s_whoever_waits_first():
    session = Session()
    session.interrupts._pending = True
    ended: list[Any] = []

    other = threading.Thread(target=lambda: ended.append(session.wait_for(Waiter(), "it", 1.0)))
    other.start()
    other.join(10)

    assert ended == [False]
    with pytest.raises(KeyboardInterrupt):
        session.wait_for(Waiter(), "it", 1.0)
