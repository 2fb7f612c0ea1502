"""Which node a lease should come from: this one, another, or none now.

Hybrid, the default: here while less than half is used; else from the least used node that has room, and here among equals. A
node that holds large arguments comes first if it has room. SPREAD: from the node whose turn was longest ago. Among nodes that
are allowed those that are better (soft labels) come first if they have room.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from typing import Final

from manta.core.resources import GPU, utilisation
from manta.core.strategy import ANYWHERE, Strategy, allowed
from manta.raylet.scheduling.cluster import Cluster, Other
from manta.raylet.scheduling.ledger import Amounts, Ledger
from manta.raylet.scheduling.records import Shape, Tier

#: A node that is used less than this takes what comes, however empty others are.
PACK_UP_TO: Final = 0.5

#: What a node that nothing uses costs, at least.
IDLE: Final = 0.0, 1

#: Shapes whose tiers are remembered.
MAX_KNOWN: Final = 256

#: Names the order of a tier's nodes by what waits there, beside those by cost (0) and by turn (a shape's id).
_QUEUES: Final = -1


def _queue(other: Other) -> tuple[float, int]:
    """How much of a node is used, and wanted by those who were sent there to wait."""
    return other.used, 0


class Policy:
    """Where to. Remembers only whose turn was when.

    Args:
        ledger: This node's resources.
        cluster: The other nodes.
    """

    def __init__(self, ledger: Ledger, cluster: Cluster) -> None:
        self._ledger = ledger
        self._cluster = cluster
        self._turns = 0
        #: Tiers worked out for some version, by what they depend on besides: those of a shape that comes again are there.
        self._tiers_of: tuple[int, int] = (-1, -1)
        self._known: dict[tuple[Strategy | None, tuple[tuple[str, int], ...]], list[Tier]] = {}
        self._ranks: dict[tuple[int, int], Rank | None] = {}

    def begin(self) -> None:
        """Choices follow between which nothing is heard of other nodes: what is free there only gets less."""
        self._ranks.clear()

    def tiers(self, shape: Shape) -> list[Tier]:
        """Nodes on which the shape may run, better ones first; worked out anew when nodes come, go or change."""
        version = self._cluster.version, self._ledger.version
        if shape.tiers_of != version:
            if self._tiers_of != version or len(self._known) >= MAX_KNOWN:
                self._tiers_of = version
                self._known.clear()
            alike = shape.strategy, tuple(shape.needs.items())
            tiers = self._known.get(alike)
            if tiers is None:
                tiers = self._known[alike] = self._tiers(shape)
            shape.tiers_of, shape.tiers = version, tiers
        return shape.tiers

    def _tiers(self, shape: Shape) -> list[Tier]:
        if shape.strategy is None:
            return [Tier(True, ())] if shape.feasible else []
        here = Other(
            self._cluster.node_id, self._ledger.total, {}, self._cluster.labels, draining=self._cluster.draining
        )
        everyone = [here, *self._cluster.others.values()]
        if self._cluster.draining:
            # It gives nothing more, but to its own processes what nobody else can.
            found = allowed(shape.strategy, everyone, lambda node: node is not here and node.can(shape.needs))
            if found:
                return [Tier(False, tuple(tier)) for tier in found]
        found = allowed(
            shape.strategy, everyone, lambda node: node.can(shape.needs) if node is not here else shape.feasible
        )
        return [Tier(here in tier, tuple(node for node in tier if node is not here)) for tier in found]

    def choose(self, shape: Shape) -> Other | bool:
        """Where the shape's next lease should come from.

        Returns:
            True: from here, where there is room. Another node: from there; it has room, or nobody has and it can not come
            from here. False: it waits here.
        """
        tiers = self.tiers(shape)
        here_fits: bool | None = None
        for tier in tiers:
            if tier.here and here_fits is None:
                here_fits = self._ledger.fits(shape.needs)
            fits = bool(tier.here and here_fits)
            full = self._cluster.grown, id(tier)
            if shape.full == full:
                # When nodes are full thousands of events change nothing about it.
                found: Other | bool = fits
            else:
                found = self._in_tier(shape, tier, fits)
                if found is False:
                    shape.full = full
            if found is not False:
                return found
        if not tiers or any(tier.here for tier in tiers):
            return False
        # Only others can ever give it, and none has room: it waits there, where it has its turn like everybody else.
        tier = tiers[0]
        rank = self._rank((id(tier), _QUEUES), tier, _queue)
        return min(tier.others, key=_queue) if rank is None else rank.first()

    def _in_tier(self, shape: Shape, tier: Tier, here_fits: bool) -> Other | bool:
        if not tier.others:
            return here_fits
        needs, strategy = shape.needs, shape.strategy or ANYWHERE
        if strategy.spread:
            return self._by_turn(shape, tier, here_fits)
        if shape.prefer:
            if shape.prefer == self._cluster.node_id:
                if here_fits:
                    return True
            else:
                for other in tier.others:
                    if other.node_id == shape.prefer and other.fits(needs):
                        return other
        wants_gpu = needs.get(GPU, 0) > 0

        def cost(other: Other) -> tuple[float, int]:
            return other.used, 1 + (not wants_gpu and other.total.get(GPU, 0) > 0)

        best: Other | bool = False
        least = 2.0, 0
        if here_fits:
            used = utilisation(self._ledger.total, self._ledger.available)
            if used < PACK_UP_TO:
                return True
            best, least = True, (used, 0)
        rank = self._rank((id(tier), 0), tier, cost)
        if rank is not None:
            found = rank.least(needs)
            return found if found is not None and cost(found) < least else best
        for other in tier.others:
            if other.used > least[0]:
                continue
            its = cost(other)
            if its < least and other.fits(needs):
                best, least = other, its
                if its <= IDLE:
                    break  # none is better
        return best

    def _by_turn(self, shape: Shape, tier: Tier, here_fits: bool) -> Other | bool:
        turns = shape.spread_turns
        best: Other | bool = False
        least = self._turns + 1
        if here_fits:
            best, least = True, turns.get(self._cluster.node_id, 0)
        rank = self._rank((id(tier), id(shape)), tier, lambda other: (turns.get(other.node_id, 0), 0))
        if rank is not None:
            found = rank.least(shape.needs)
            return found if found is not None and turns.get(found.node_id, 0) < least else best
        for other in tier.others:
            turn = turns.get(other.node_id, 0)
            if turn < least and other.fits(shape.needs):
                best, least = other, turn
        return best

    def _rank(self, key: tuple[int, int], tier: Tier, cost: Callable[[Other], tuple[float, int]]) -> Rank | None:
        """The tier in order, from the second choice of its kind on: for one, a look at each is less work."""
        ranks = self._ranks
        if key not in ranks:
            ranks[key] = None
            return None
        rank = ranks[key]
        if rank is None:
            rank = ranks[key] = Rank(tier, cost)
        return rank

    def took_turn(self, shape: Shape, where: Other | bool) -> None:
        """A lease comes from there."""
        if shape.strategy is not None and shape.strategy.spread:
            self._turns += 1
            shape.spread_turns[self._cluster.node_id if isinstance(where, bool) else where.node_id] = self._turns


class Rank:
    """A tier's nodes by cost, as long as none gets cheaper and none gets room: many choices in a row cost little each.

    Args:
        tier: The nodes; among equals the first in it comes first.
        cost: What a node costs now.
    """

    __slots__ = ("_cost", "_heap", "_tier")

    def __init__(self, tier: Tier, cost: Callable[[Other], tuple[float, int]]) -> None:
        self._cost = cost
        #: Kept alive: its id is what it is filed under.
        self._tier = tier
        self._heap = [(cost(other), index, other) for index, other in enumerate(tier.others)]
        heapify(self._heap)

    def least(self, needs: Amounts) -> Other | None:
        """The node that costs least of those with room; None when no node has."""
        heap = self._heap
        while heap:
            cost, index, other = heap[0]
            if not other.fits(needs):
                heappop(heap)
            elif (now := self._cost(other)) != cost:
                heapreplace(heap, (now, index, other))
            else:
                return other
        return None

    def first(self) -> Other:
        """The node that costs least, with room or without; of a rank whose `least` is not asked for."""
        heap = self._heap
        while True:
            cost, index, other = heap[0]
            now = self._cost(other)
            if now == cost:
                return other
            heapreplace(heap, (now, index, other))
