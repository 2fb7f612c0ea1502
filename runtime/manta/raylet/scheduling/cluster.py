"""What this node knows of the others: what they have, what they said last is free, and what was sent there since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from manta.core.resources import add, fits, utilisation
from manta.core.strategy import NODE_ID_LABEL
from manta.raylet.events import ClusterSeen
from manta.raylet.scheduling.ledger import Amounts

#: What was sent to a node counts as taken until it reports, or for so long, seconds: whoever was sent may not have gone.
PROMISE_S: Final = 2.0


@dataclass(slots=True, eq=False)
class Other:
    """Another node. One is the same as another only if it is that one: thousands are compared for each decision.

    Attributes:
        node_id: Its id.
        total: What it has.
        available: What it last said is free.
        labels: Its labels, that of its id included.
        raylet: Where its raylet is dialled, opaque.
        draining: It takes nothing new.
        promised: What was sent there since.
        promised_at: When something was last sent.
        free: `available` without what was promised.
        used: Largest used share of what it has.
    """

    node_id: bytes
    total: Amounts
    available: Amounts
    labels: Mapping[str, str] = field(default_factory=dict)
    raylet: object = None
    draining: bool = False
    promised: dict[str, int] = field(default_factory=dict)
    promised_at: float = 0.0
    free: dict[str, int] = field(default_factory=dict)
    used: float = 0.0

    def count(self) -> None:
        """Work out what is free from what was said and promised."""
        self.free = dict(self.available)
        for name, amount in self.promised.items():
            self.free[name] = self.free.get(name, 0) - amount
        self.used = utilisation(self.total, self.free)

    def can(self, needs: Amounts) -> bool:
        """Whether it could ever give this."""
        return not self.draining and fits(self.total, needs)

    def fits(self, needs: Amounts) -> bool:
        """Whether it should have this free now."""
        free = self.free
        for name, amount in needs.items():  # noqa: SIM110 - once per node and lease
            if amount > free.get(name, 0):
                return False
        return True


class Cluster:
    """The other nodes.

    Args:
        node_id: This one.
        labels: Its labels.
        alone: There is no control that could tell of others.
    """

    def __init__(self, node_id: bytes = b"", labels: Mapping[str, str] | None = None, *, alone: bool = True) -> None:
        self.node_id = node_id
        self.labels: dict[str, str] = {**(labels or {}), NODE_ID_LABEL: node_id.hex()}
        #: What there is is known: before that nobody is told that something is nowhere.
        self.known = alone
        self.draining = False
        self.others: dict[bytes, Other] = {}
        #: Those to which something was promised, whose promise is oldest first.
        self._promised: dict[bytes, Other] = {}
        #: Grows when a node comes, goes, or is not what it was; not when only what is free changes.
        self.version = 0
        #: Grows when a node may have more free than before.
        self.grown = 0

    def learn(self, event: ClusterSeen) -> None:
        """Control told what has changed."""
        self.known = True
        self.grown += 1
        if event.anew:
            staying = {seen.node_id for seen in event.nodes}
            for node_id in [node_id for node_id in self.others if node_id not in staying]:
                self._forget(node_id)
        for node_id in event.gone:
            self._forget(node_id)
        for seen in event.nodes:
            if seen.node_id == self.node_id:
                if seen.total is not None and seen.draining != self.draining:
                    self.draining = seen.draining
                    self.version += 1
                continue
            other = self.others.get(seen.node_id)
            if seen.total is not None:
                self.version += 1
                labels = {**seen.labels, NODE_ID_LABEL: seen.node_id.hex()}
                other = Other(seen.node_id, seen.total, seen.available, labels, seen.raylet, seen.draining)
                self.others[seen.node_id] = other
            elif other is None:
                # Nothing is known of it: it was said in news that we have missed, and a new start will say it again.
                continue
            other.available = seen.available
            other.promised = {}
            self._promised.pop(other.node_id, None)
            other.count()

    def promise(self, other: Other, needs: Amounts, now: float) -> None:
        """Somebody is sent there for this."""
        add(other.promised, needs)
        other.promised_at = now
        self._promised.pop(other.node_id, None)
        self._promised[other.node_id] = other
        other.count()

    def forget_promises(self, now: float) -> float | None:
        """What was promised long ago was taken, and reported, or never will be. Returns when to look again."""
        promised = self._promised
        while promised:
            other = next(iter(promised.values()))
            end = other.promised_at + PROMISE_S
            if now < end:
                return end
            del promised[other.node_id]
            self.grown += 1
            other.promised = {}
            other.count()
        return None

    def totals(self, here: Amounts) -> list[Amounts]:
        """What each node has, this one first; only for telling people."""
        return [here, *(other.total for other in self.others.values())]

    def _forget(self, node_id: bytes) -> None:
        self._promised.pop(node_id, None)
        if self.others.pop(node_id, None) is not None:
            self.version += 1
