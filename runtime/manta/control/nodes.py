"""The table of nodes: who is there, what is free, who has gone silent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from manta.control.cluster import ClusterBook
from manta.control.commands import Command, ForgetNode, Publish, Table, Write
from manta.control.errors import DrainRefusedError, NodeDeadError, NodeNotFoundError
from manta.control.model import ActorId, Amounts, Drain, Instant, Load, Node, NodeId, NodeState
from manta.control.placement import NodeView, subtract
from manta.control.stories import Stories
from manta.core.strategy import NODE_ID_LABEL


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """Times and bounds of the node table.

    Attributes:
        silence_s: A node not heard of for so long is dead. A partition of half of it costs nothing.
        reconnect_s: A node whose line closed has so long to open another: a dead process is noticed that fast.
        recovery_s: After a restart, nodes known from the store have so long to register again.
        dead_kept: Dead nodes remembered.
    """

    silence_s: float = 10.0
    reconnect_s: float = 1.0
    recovery_s: float = 10.0
    dead_kept: int = 100


class Account:
    """Amounts by what they are for, and their sum: a look at the sum costs the same however many there are."""

    __slots__ = ("entries", "total")

    def __init__(self) -> None:
        self.entries: dict[ActorId, Amounts] = {}
        #: Without zeros.
        self.total: dict[str, int] = {}

    def put(self, actor_id: ActorId, amounts: Amounts) -> None:
        """Note an entry, instead of any before."""
        self.pop(actor_id)
        self.entries[actor_id] = amounts
        for name, amount in amounts.items():
            if amount:
                self.total[name] = self.total.get(name, 0) + amount

    def pop(self, actor_id: ActorId) -> None:
        """Strike an entry, if there is one."""
        total = self.total
        for name, amount in self.entries.pop(actor_id, _NOTHING).items():
            if amount:
                left = total[name] - amount
                if left:
                    total[name] = left
                else:
                    del total[name]


_NOTHING: Amounts = {}


@dataclass(slots=True)
class _Live:
    """What is known of a living node and not worth writing down."""

    heard_at: float
    available: Amounts
    #: Last heartbeat's number.
    number: int = 0
    load: Load = field(default_factory=Load)
    #: Since when it has had no work, wall clock; 0 while it has, or has not said.
    idle_since_unix_ms: int = 0
    #: When the grace of its drain is over; None while it is not drained.
    drained_by: float | None = None
    gauges: Mapping[str, int] = field(default_factory=dict)
    #: Whether it has said how many processes were ended because memory was full, since it registered here.
    counted_kills: bool = False
    #: Its open line, 0 for none.
    stream: int = 0
    #: When the last line closed; None while one is open or none was.
    lost_at: float | None = None
    #: What each actor placed here holds once it runs.
    held: Account = field(default_factory=Account)
    #: What was placed here and isn't in `available` yet.
    unreported: Account = field(default_factory=Account)
    #: Those of `unreported` that the next heartbeat will include.
    settled: set[ActorId] = field(default_factory=set)
    #: Starts not finished yet.
    starting: Account = field(default_factory=Account)


class NodeTable:
    """Nodes by id. Decides nothing about actors: it keeps account of what they take."""

    def __init__(self, stories: Stories, limits: NodeLimits = NodeLimits()) -> None:
        self.limits = limits
        self._stories = stories
        self.rows: dict[NodeId, Node] = {}
        self._live: dict[NodeId, _Live] = {}
        #: How often a node has said that its work is not what it was.
        self.loads = 0
        #: What the nodes are told of each other.
        self.cluster = ClusterBook()
        #: Nodes from the store and until when each may come back.
        self._expected: dict[NodeId, float] = {}
        #: Dead ones, the longest dead first.
        self._dead: dict[NodeId, None] = {}
        #: When silence was last looked for: a larger gap than expected is our own sleep, not theirs.
        self._looked_at: float | None = None

    # ---- reading

    @property
    def recovering(self) -> bool:
        """Whether nodes from before a restart may still come back: until then nothing is placed, as it may run there."""
        return bool(self._expected)

    def alive(self) -> list[NodeId]:
        """Living nodes in the order in which they came."""
        return list(self._live)

    def is_alive(self, node_id: NodeId) -> bool:
        """Whether it is registered and not dead."""
        return node_id in self._live

    def require_alive(self, node_id: NodeId) -> Node:
        """The living node.

        Raises:
            NodeDeadError: It was declared dead.
            NodeNotFoundError: It is unknown, or expected after a restart: it should register.
        """
        row = self.rows.get(node_id)
        if row is not None and row.state is NodeState.DEAD:
            raise NodeDeadError(f"node {node_id.hex()} was declared dead: {row.death_reason}")
        if node_id not in self._live:
            raise NodeNotFoundError(f"node {node_id.hex()} is not registered; register it")
        assert row is not None
        return row

    def available(self, node_id: NodeId) -> Amounts:
        """What it last reported as free; nothing for one that isn't alive."""
        live = self._live.get(node_id)
        return live.available if live else {}

    def views(self) -> Iterator[NodeView]:
        """Living nodes as placement sees them."""
        for node_id, live in self._live.items():
            if live.drained_by is not None:
                continue
            row = self.rows[node_id]
            free = subtract(live.available, live.unreported.total)
            room = subtract(row.total, live.held.total)
            labels = {**row.labels, NODE_ID_LABEL: node_id.hex()}
            yield NodeView(node_id, row.total, free, room, live.starting.total, labels, len(live.held.entries))

    def load(self, node_id: NodeId) -> Load:
        """What work it last reported; none for one that isn't alive."""
        live = self._live.get(node_id)
        return live.load if live else Load()

    def idle_since_unix_ms(self, node_id: NodeId) -> int:
        """Since when it has had no work; 0 while it has."""
        live = self._live.get(node_id)
        return live.idle_since_unix_ms if live else 0

    # ---- what happens

    def drain(
        self,
        node_id: NodeId,
        grace_ms: int,
        reason: str,
        now: Instant,
        out: list[Command],
        cause: str,
        leaving: bool = False,
    ) -> bool:
        """Take a node out of service; False if it is so already, or dead, and no sooner than it would be anyway.

        `leaving`: its own process was told to end, which also the head's may be where the cluster does not end with it.

        Raises:
            NodeNotFoundError: It is unknown.
            DrainRefusedError: It is the head's, or the last that takes work.
        """
        row = self.rows.get(node_id)
        if row is None:
            raise NodeNotFoundError(f"node {node_id.hex()} is not known; see `manta list nodes`")
        if row.state is NodeState.DEAD:
            return False
        deadline = now.unix_ms + grace_ms
        if row.drain is not None:
            if deadline >= row.drain.deadline_unix_ms:
                return False
            drain = replace(row.drain, grace_ms=grace_ms, deadline_unix_ms=deadline)
        else:
            if row.head and not leaving:
                raise DrainRefusedError(
                    "this is the head's own node: the cluster ends with it. Drain the others, then use `manta stop`"
                )
            others = [each for each in self._live if each != node_id and self.rows[each].drain is None]
            if not others:
                raise DrainRefusedError(
                    "no other node takes work, so nothing could move: add a node first, or use `manta stop` on this one"
                )
            drain = Drain(reason, grace_ms, deadline)
        self.rows[node_id] = row = replace(row, drain=drain)
        live = self._live.get(node_id)
        if live is not None:
            live.drained_by = now.s + grace_ms / 1000
            self.cluster.changed(node_id, facts=True)
        out.append(Write(Table.NODES, node_id, row))
        out.append(Publish(row, cause))
        self._stories.tell(now.s, cause, f"drain within {grace_ms / 1000:g} s: {drain.reason}", node_id)
        return True

    def restore(self, row: Node, now: Instant) -> None:
        """Take a row from the store: a living node is expected to register again."""
        if row.state is NodeState.DEAD:
            self._dead[row.node_id] = None
            # Not every node may have heard so before the restart.
            self.cluster.left(row.node_id)
        else:
            row = replace(row, state=NodeState.EXPECTED)
            self._expected[row.node_id] = now.s + self.limits.recovery_s
        self.rows[row.node_id] = row

    def register(self, node: Node, available: Amounts | None, now: Instant, out: list[Command], cause: str) -> bool:
        """Make a node known, or known again.

        Args:
            node: Its facts.
            available: What is free there; None means everything.
            now: Now.
            out: Where commands go.
            cause: What set it off.

        Returns:
            Whether it was expected after a restart.

        Raises:
            NodeDeadError: It was declared dead.
        """
        old = self.rows.get(node.node_id)
        if old is not None and old.state is NodeState.DEAD:
            raise NodeDeadError(f"node {node.node_id.hex()} was declared dead: {old.death_reason}")
        was_expected = self._expected.pop(node.node_id, None) is not None
        if was_expected and not self._expected:
            self.cluster.complete()
        started = old.started_unix_ms if old else now.unix_ms
        drain = old.drain if old else None
        row = replace(
            node,
            state=NodeState.ALIVE,
            started_unix_ms=started,
            ended_unix_ms=0,
            death_reason="",
            drain=drain,
            oom_kills=old.oom_kills if old else 0,
            oom_unix_ms=old.oom_unix_ms if old else 0,
        )
        live = self._live.get(node.node_id)
        if live is None:
            self._live[node.node_id] = _Live(now.s, dict(node.total) if available is None else available)
            if drain is not None:
                # Of the wall clock no more is believed than the grace that was given.
                left_ms = min(drain.grace_ms, max(0, drain.deadline_unix_ms - now.unix_ms))
                self._live[node.node_id].drained_by = now.s + left_ms / 1000
            self.cluster.changed(node.node_id, facts=True)
        else:
            live.heard_at = now.s
            if available is not None:
                self._reported(node.node_id, live, available)
            if row != old:
                self.cluster.changed(node.node_id, facts=True)
        if row != old:
            self.rows[node.node_id] = row
            out.append(Write(Table.NODES, node.node_id, row))
            out.append(Publish(row, cause))
        self._stories.tell(now.s, cause, "node registered" + (" again" if old else ""), node.node_id)
        return was_expected

    def heartbeat(
        self,
        node_id: NodeId,
        number: int,
        available: Amounts,
        gauges: Mapping[str, int],
        now: Instant,
        total: Amounts | None = None,
        load: Load | None = None,
    ) -> bool:
        """Note that a node lives, what is free and, if that has changed, what it has.

        Returns:
            Whether more is free than control thought.
        """
        self.require_alive(node_id)
        live = self._live[node_id]
        live.heard_at = now.s
        if number <= live.number:
            return False
        live.number, live.gauges = number, gauges
        if load is not None:
            if load != live.load:
                live.load = load
                self.loads += 1
            if not load.idle:
                live.idle_since_unix_ms = 0
            elif not live.idle_since_unix_ms:
                live.idle_since_unix_ms = now.unix_ms
        if total is not None and total != self.rows[node_id].total:
            self.rows[node_id] = replace(self.rows[node_id], total=total)
            self.cluster.changed(node_id, facts=True)
        return self._reported(node_id, live, available)

    def memory_was_full(self, node_id: NodeId, now: Instant, out: list[Command], cause: str) -> None:
        """Keep how many processes of a node were ended because memory was full, if that has changed.

        What it says first, at a time without one, was so before: an older control's, or another program's of its machine.
        """
        live, row = self._live[node_id], self.rows[node_id]
        kills, first = live.load.oom_kills, not live.counted_kills
        live.counted_kills = True
        if kills == row.oom_kills:
            return
        when = row.oom_unix_ms if first or kills < row.oom_kills else now.unix_ms
        self.rows[node_id] = row = replace(row, oom_kills=kills, oom_unix_ms=when)
        out.append(Write(Table.NODES, node_id, row))
        out.append(Publish(row, cause))
        if not first:
            self._stories.tell(now.s, cause, "a process was ended because memory was full", node_id)

    def reported(self, node_id: NodeId, available: Amounts) -> bool:
        """Take what a node said of its free resources in passing; returns whether it is more than before."""
        live = self._live.get(node_id)
        return live is not None and self._reported(node_id, live, available)

    def _reported(self, node_id: NodeId, live: _Live, available: Amounts) -> bool:
        more = any(amount > live.available.get(name, 0) for name, amount in available.items())
        if available != live.available:
            live.available = available
            self.cluster.changed(node_id, facts=False)
        for actor_id in live.settled:
            live.unreported.pop(actor_id)
        live.settled.clear()
        return more

    def connected(self, node_id: NodeId, stream: int, now: Instant) -> None:
        """A node opened its line; the newest one counts."""
        live = self._live.get(node_id)
        if live is not None and stream >= live.stream:
            live.stream, live.lost_at, live.heard_at = stream, None, now.s

    def disconnected(self, node_id: NodeId, stream: int, now: Instant) -> None:
        """A line closed; older ones than the newest mean nothing."""
        live = self._live.get(node_id)
        if live is not None and stream == live.stream:
            live.stream, live.lost_at = 0, now.s

    def due(self, now: Instant) -> list[tuple[NodeId, str]]:
        """Nodes that must be declared dead now, with the reason."""
        limits = self.limits
        if self._looked_at is not None and now.s - self._looked_at > limits.silence_s / 2:
            # We were suspended: what looks like their silence is our own.
            for live in self._live.values():
                live.heard_at = max(live.heard_at, now.s)
                if live.lost_at is not None:
                    live.lost_at = now.s
            self._expected = dict.fromkeys(self._expected, now.s + limits.recovery_s)
        self._looked_at = now.s
        dead: list[tuple[NodeId, str]] = []
        for node_id, live in self._live.items():
            if live.lost_at is not None and now.s >= live.lost_at + limits.reconnect_s:
                dead.append((node_id, "its connection closed and was not opened again"))
            elif now.s >= live.heard_at + limits.silence_s:
                dead.append((node_id, f"it was silent for {limits.silence_s:g} s"))
            elif live.drained_by is not None and now.s >= live.drained_by:
                drain = self.rows[node_id].drain
                assert drain is not None
                dead.append((node_id, f"it was drained, and the grace of {drain.grace_ms / 1000:g} s ran out"))
        dead += [
            (node_id, "it did not come back after control restarted")
            for node_id, until in self._expected.items()
            if now.s >= until
        ]
        return dead

    def next_due(self) -> float | None:
        """When `due` should be asked at the latest; None if there is nobody to watch."""
        times = list(self._expected.values())
        if self._live or times:
            # Asked only when somebody is due, `due` would take every pause for our own sleep, and nobody's silence for theirs.
            times.append(0.0 if self._looked_at is None else self._looked_at + self.limits.silence_s / 4)
        for live in self._live.values():
            times.append(live.heard_at + self.limits.silence_s)
            if live.lost_at is not None:
                times.append(live.lost_at + self.limits.reconnect_s)
            if live.drained_by is not None:
                times.append(live.drained_by)
        return min(times, default=None)

    def die(self, node_id: NodeId, reason: str, now: Instant, out: list[Command], cause: str) -> bool:
        """Declare a node dead; returns False if it is unknown or dead already."""
        row = self.rows.get(node_id)
        if row is None or row.state is NodeState.DEAD:
            return False
        self._live.pop(node_id, None)
        if self._expected.pop(node_id, None) is not None and not self._expected:
            self.cluster.complete()
        self.cluster.left(node_id)
        row = replace(row, state=NodeState.DEAD, ended_unix_ms=now.unix_ms, death_reason=reason)
        self.rows[node_id] = row
        self._dead[node_id] = None
        out.append(Write(Table.NODES, node_id, row))
        out.append(Publish(row, cause))
        out.append(ForgetNode(node_id))
        self._stories.tell(now.s, cause, f"node died: {reason}", node_id)
        while len(self._dead) > self.limits.dead_kept:
            oldest = next(iter(self._dead))
            del self._dead[oldest], self.rows[oldest]
            out.append(Write(Table.NODES, oldest, None))
        return True

    # ---- account of what actors take

    def placed(self, node_id: NodeId, actor_id: ActorId, place: Amounts, hold: Amounts) -> None:
        """An actor is being started there."""
        live = self._live[node_id]
        live.held.put(actor_id, hold)
        live.settled.discard(actor_id)
        live.unreported.put(actor_id, place)
        live.starting.put(actor_id, place)

    def adopted(self, node_id: NodeId, actor_id: ActorId, hold: Amounts) -> None:
        """It was found there when the node registered: what the node reports includes it already."""
        self._live[node_id].held.put(actor_id, hold)

    def started(self, node_id: NodeId, actor_id: ActorId, hold: Amounts) -> None:
        """It runs: from the node's next report on, `available` includes it."""
        live = self._live.get(node_id)
        if live is not None:
            live.held.put(actor_id, hold)
            live.starting.pop(actor_id)
            if actor_id in live.unreported.entries:
                live.unreported.put(actor_id, hold)
                live.settled.add(actor_id)

    def left(self, node_id: NodeId, actor_id: ActorId) -> None:
        """It is gone from there."""
        live = self._live.get(node_id)
        if live is not None:
            for account in (live.held, live.unreported, live.starting):
                account.pop(actor_id)
            live.settled.discard(actor_id)

    # ---- about itself

    def held(self) -> dict[tuple[NodeId, ActorId], Amounts]:
        """Every account entry, for checks."""
        return {
            (node_id, actor_id): amounts
            for node_id, live in self._live.items()
            for actor_id, amounts in live.held.entries.items()
        }

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        for node_id, row in self.rows.items():
            assert row.node_id == node_id
            assert (row.state is NodeState.ALIVE) == (node_id in self._live), row
            assert (row.state is NodeState.DEAD) == (node_id in self._dead), row
            assert (row.state is NodeState.EXPECTED) == (node_id in self._expected), row
        assert set(self.rows) == {*self._live, *self._dead, *self._expected}
        assert len(self._dead) <= self.limits.dead_kept
        assert set(self.cluster.since(None).facts) == set(self._live)
        for node_id, live in self._live.items():
            assert set(live.starting.entries) <= set(live.held.entries)
            assert set(live.unreported.entries) <= set(live.held.entries)
            assert (live.drained_by is not None) == (self.rows[node_id].drain is not None), node_id
            assert live.settled <= set(live.unreported.entries)

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {
            "nodes_alive": len(self._live),
            "nodes_expected": len(self._expected),
            "nodes_dead_kept": len(self._dead),
        }
