"""How long workers are waited for, lent out, and take to start. Hears what the scheduler hears and decides; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from manta.metrics.histogram import Histogram
from manta.raylet import events as ev

#: Things under way that are remembered; the oldest are given up. More demands than this have no owner on one node.
MOST: Final = 10_000

Key = TypeVar("Key")


class Timings:
    """Histograms of the node, in seconds.

    Attributes:
        scheduling: From an owner's last word that it could use more workers of a kind, to each worker it gets.
        lease: From a worker's being lent to its return.
        worker_start: From the decision to have a worker to its first word. One that waited for its job has started long ago.
    """

    __slots__ = ("_asked", "_lent", "_starting", "lease", "scheduling", "worker_start")

    def __init__(self) -> None:
        self.scheduling = Histogram()
        self.lease = Histogram()
        self.worker_start = Histogram()
        #: (owner, key) to (when it asked for more, how many in all).
        self._asked: dict[tuple[bytes, int], tuple[float, int]] = {}
        self._lent: dict[int, float] = {}
        self._starting: dict[bytes, float] = {}

    def seen(self, event: ev.Event, commands: Iterable[ev.Command], now: float) -> None:
        """The scheduler has taken an event and decided."""
        kind = type(event)
        if kind is ev.DemandSet:
            assert isinstance(event, ev.DemandSet)
            key = (event.owner, event.key)
            known = self._asked.get(key)
            if not event.wanted:
                self._asked.pop(key, None)
            elif known is None or event.wanted > known[1]:
                _remember(self._asked, key, (now, event.wanted))
        elif kind is ev.LeaseBack:
            assert isinstance(event, ev.LeaseBack)
            self._ended(event.lease_id, now)
        elif kind is ev.WorkerReady:
            assert isinstance(event, ev.WorkerReady)
            since = self._starting.pop(event.worker_id, None)
            if since is not None:
                self.worker_start.observe(now - since)
        elif kind is ev.WorkerDied:
            assert isinstance(event, ev.WorkerDied)
            self._starting.pop(event.worker_id, None)
        for command in commands:
            if type(command) is ev.Grant:
                asked = self._asked.get((command.owner, command.key))
                if asked is not None:
                    self.scheduling.observe(now - asked[0])
                _remember(self._lent, command.lease_id, now)
            elif type(command) is ev.StartWorker:
                _remember(self._starting, command.worker_id, now)
            elif type(command) is ev.TellLeaseLost:
                self._ended(command.lease_id, now)

    def _ended(self, lease_id: int, now: float) -> None:
        since = self._lent.pop(lease_id, None)
        if since is not None:
            self.lease.observe(now - since)


Value = TypeVar("Value")


def _remember(where: dict[Key, Value], key: Key, value: Value) -> None:
    if len(where) >= MOST and key not in where:
        del where[next(iter(where))]
    where[key] = value
