"""Connections: what is sent on one arrives in its order or not at all; several overtake each other.

One that breaks loses the tail: what is under way, and whatever is sent before the sender has heard of it. Each side hears of
the end in its own time. A machine that stands still reads later; one that is cut off is reached later, or never.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from tests.sim.cluster.virtual import Machine

_numbers = count()


class End:
    """One side of a connection; both the client's and the raylet's code take it for theirs."""

    fd = -1
    unsent_bytes = 0
    is_open = True
    far = True

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        #: Ends are told apart by this, so that a seed is a history.
        self.number = next(_numbers)
        self.other: End = self
        self.peer: Any = None
        self.closed = False
        #: What is sent goes nowhere any more; nor does anything come.
        self.deaf = self.mute = False
        self._last = 0.0
        self._on_frame: Callable[[Any], None] | None = None
        #: What came before anybody listened.
        self._early: list[Any] = []
        #: What is under way to here, in order.
        self._coming: dict[int, Any] = {}
        self.on_closed: Callable[[str], None] = lambda reason: None
        machine.ends[self] = None

    @property
    def on_frame(self) -> Callable[[Any], None] | None:
        """Takes what comes."""
        return self._on_frame

    @on_frame.setter
    def on_frame(self, take: Callable[[Any], None]) -> None:
        self._on_frame = take
        while self._early and self._on_frame is take:
            take(self._early.pop(0))

    # ---- what processes do

    def detach(self) -> End:
        """For a transfer alone, from now on."""
        self.on_frame, self.on_closed = lambda frame: None, lambda reason: None
        return self

    def send(self, frame: Any, raw: bytes = b"") -> bool:
        if self.closed or self.mute or not self.machine.alive:
            return True
        other, clock = self.other, self.machine.clock
        delay = 0.0005 + clock.chance.random() ** 3 * (0.02 if other.machine is not self.machine else 0.003)
        when = max(self._last, clock.now + delay, self.machine.cut_off_until, other.machine.cut_off_until)
        self._last = when
        other._coming[number := next(_numbers)] = frame
        clock.at(when, lambda: other._here(number))
        return True

    def read_to_end(self) -> None:
        """The process at the other end is dead: on the same machine all that it said is here, from another what came was read."""
        if self.other.machine is self.machine:
            for number in list(self._coming):
                self._here(number)

    def hold(self, seconds: float) -> None:
        """What is said here from now on arrives no sooner."""
        self._last = max(self._last, self.machine.clock.now + seconds)

    def close(self, reason: str = "") -> None:
        """This side ends it: what it said before still arrives."""
        if self.closed:
            return
        self.closed = True
        self.machine.ends.pop(self, None)
        other = self.other
        if not self.mute:
            self.mute = True
            when = max(self._last, self.machine.clock.now + 0.001, other.machine.cut_off_until)
            self.machine.clock.at(when, lambda: other._ended("the other side closed it"))

    # ---- what the network does

    def _here(self, number: int) -> None:
        if number in self._coming:
            self._arrived(self._coming.pop(number))

    def _arrived(self, frame: Any) -> None:
        machine = self.machine
        if self.closed or self.deaf or not machine.alive:
            return
        if machine.stands_still_until > machine.clock.now:
            machine.clock.at(machine.stands_still_until, lambda: self._arrived(frame))
        elif self._on_frame is None or self._early:
            self._early.append(frame)
        else:
            self._on_frame(frame)

    def _ended(self, reason: str) -> None:
        if self.closed or not self.machine.alive:
            return
        if self.machine.stands_still_until > self.machine.clock.now:
            self.machine.clock.at(self.machine.stands_still_until, lambda: self._ended(reason))
            return
        self.closed = self.deaf = self.mute = True
        self.machine.ends.pop(self, None)
        self.on_closed(reason)

    def lost(self, silent: bool = False) -> None:
        """The machine or process on this side is gone. With `silent` nobody is told: the other side finds out, or never does."""
        self.closed = self.mute = self.deaf = True
        self.machine.ends.pop(self, None)
        if not silent:
            other, clock = self.other, self.machine.clock
            when = max(self._last, clock.now + clock.chance.random() * 0.1, other.machine.cut_off_until)
            clock.at(when, lambda: other._ended("its process is gone"))


def connect(here: Machine, there: Machine) -> tuple[End, End]:
    """A new connection, both of its ends."""
    one, other = End(here), End(there)
    one.other, other.other = other, one
    return one, other


def cut(end: End) -> None:
    """The connection breaks: of what is under way in each direction a head still arrives."""
    clock = end.machine.clock
    for side in (end, end.other):
        if side.closed:
            continue
        side.mute = True
        tail = clock.now + clock.chance.choice((0.0, 0.002, 0.01))

        def deaf(side: End = side) -> None:
            side.deaf = True

        clock.at(tail, deaf)
        heard = tail + clock.chance.choice((0.001, 0.02, 0.3)) * clock.chance.random()
        heard = max(heard, side.machine.cut_off_until)
        clock.at(heard, lambda side=side: side._ended("the connection broke"))
