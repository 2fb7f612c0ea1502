"""What this node fetches from others: which object from whom, for whom, and how much at once.

A pure state machine, like `table`: events are method calls, what to do about them is returned as commands. A process *asks* for
some objects that live elsewhere, all of them at once, as a task needs all its arguments. One *pull* fetches one object, for
everybody who asks for it.

**Admission.** An ask begins only when all that it still needs fits beside what cannot be evicted and what begun asks have yet to
get; until then it holds nothing, not even pins. So two half-fetched tasks never wait for each other's room. First come, first
served. One that does not fit for `patience_s` begins all the same: the store then says, in its own words, that it is full.

**Sources.** An object's *root* is a node that its owner knows to have it; there may be several, tried in order. A root that is
busy sending may point to a node that is just being sent the object (a *detour*): what fails there goes back to the root. A broken
transfer begins anew, at the first byte: copies of two attempts of a task need not be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from enum import Enum
from typing import Final

from manta.raylet.objects.pull_commands import (
    Begin,
    Command,
    Drop,
    Fail,
    Fetch,
    Need,
    Reserve,
    Seal,
    Stop,
    Trouble,
)
from manta.shm.layout import aligned

#: Objects fetched at once; each costs a thread and a connection.
MAX_FETCHES: Final = 8
#: Objects that one process may ask for without having got them.
MAX_ASKED: Final = 100_000
#: Detours per pull; then the root has to send it.
MAX_DETOURS: Final = 3
#: Transfers from one root that may break before the next one is tried; and from the last one, which lives as long as nobody says
#: that its node is dead: with the pauses below, twenty seconds.
MAX_BREAKS: Final = 3
MAX_LAST_BREAKS: Final = 25
#: How often a root may say that it is busy, or not be known yet. With the pauses below: half a minute, five seconds.
MAX_BUSY: Final = 40
MAX_UNKNOWN: Final = 12
#: Pauses before the same root is tried again: doubled from the first to the last, seconds.
PAUSE_S: Final = 0.02
PAUSE_CAP_S: Final = 1.0


class _Stage(Enum):
    ROOM = 1  # waits for its range
    READY = 2  # has its range, waits for one of the fetches
    FETCHING = 3
    PAUSED = 4  # the root is tried again later; keeps its range


class _Ask:
    __slots__ = ("client", "needs", "request_id", "since")

    def __init__(self, client: Hashable, request_id: Hashable, needs: dict[bytes, Need]) -> None:
        self.client, self.request_id, self.needs = client, request_id, needs
        #: When it became the first of those that wait.
        self.since: float | None = None


class _Pull:
    __slots__ = (
        "askers", "attempt", "avoid", "breaks", "busy", "node", "object_id", "reasons", "retry_at", "root", "size", "sources",
        "stage", "unknown",
    )  # fmt: skip

    def __init__(self, need: Need, here: bytes) -> None:
        self.object_id, self.size = need.object_id, need.size
        self.askers: dict[_Ask, None] = {}
        self.stage = _Stage.ROOM
        #: Roots that were not tried yet.
        self.sources = [node_id for node_id in dict.fromkeys(need.sources) if node_id != here]
        self.root = self.sources.pop(0) if self.sources else b""
        #: From whom it is being fetched; the root or a detour.
        self.node = self.root
        self.attempt = 0
        self.avoid: list[bytes] = []
        self.breaks = self.busy = self.unknown = 0
        self.retry_at = 0.0
        #: What each source said.
        self.reasons: list[str] = []


class Pulls:
    """See the module.

    Args:
        node_id: This node; never fetched from.
        capacity: Bytes of the store.
        is_here: Whether an object can be read here now.
        patience_s: How long the first ask waits for room before it begins without.
    """

    def __init__(
        self, node_id: bytes, capacity: int, is_here: Callable[[bytes], bool], *, patience_s: float = 5.0
    ) -> None:
        self._node_id, self._capacity, self._is_here, self._patience_s = node_id, capacity, is_here, patience_s
        #: Asks that have not begun, in order, and those that have.
        self._waiting: dict[tuple[Hashable, Hashable], _Ask] = {}
        self._begun: dict[tuple[Hashable, Hashable], _Ask] = {}
        self._by_client: dict[Hashable, int] = {}
        self._pulls: dict[bytes, _Pull] = {}
        #: Of those, the ones in a stage in which something is to be done about them; and the bytes of those without a range.
        self._ready: dict[bytes, _Pull] = {}
        self._paused: dict[bytes, _Pull] = {}
        self._promised = 0
        self._fetching = 0
        self._attempts = 0
        self._totals = {"begun": 0, "fetched": 0, "broken": 0, "redirected": 0, "failed": 0}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._begun)

    @property
    def waits(self) -> bool:
        """Somebody waits for room: call `review` when there may be more of it."""
        return bool(self._waiting)

    # --- who asks ---------------------------------------------------------------------------------------------------------

    def ask(
        self, client: Hashable, request_id: Hashable, needs: Sequence[Need], *, now: float, room: int
    ) -> list[Command] | None:
        """A process wants to read objects that are not here, or not all of them.

        Args:
            client: Who.
            request_id: Its name for this ask, unused as long as it lasts.
            needs: What lives elsewhere; it may have come here meanwhile.
            now: Monotonic seconds.
            room: Bytes that are free or can be evicted.

        Returns:
            None when it asks for too much, or twice under one name. Else it ends by `over`, which the caller owes, or by Fail.
        """
        key = (client, request_id)
        asked = self._by_client.get(client, 0) + len(needs)
        if key in self._waiting or key in self._begun or asked > MAX_ASKED:
            return None
        self._by_client[client] = asked
        self._waiting[key] = _Ask(client, request_id, {need.object_id: need for need in needs})
        self._by_client[client] += len(self._waiting[key].needs) - len(needs)
        return self.review(now=now, room=room)

    def over(self, client: Hashable, request_id: Hashable, *, now: float, room: int) -> list[Command]:
        """The ask has ended: answered, freed, or not wanted any more. Unknown ones are fine."""
        out: list[Command] = []
        self._end((client, request_id), out)
        return out + self.review(now=now, room=room)

    def died(self, client: Hashable, *, now: float, room: int) -> list[Command]:
        """A process is gone; it asks for nothing."""
        out: list[Command] = []
        if client in self._by_client:
            for key in [key for key in (*self._waiting, *self._begun) if key[0] == client]:
                self._end(key, out)
        return out + self.review(now=now, room=room)

    def review(self, *, now: float, room: int) -> list[Command]:
        """There may be more room, or time has passed: begin what fits, try again what is due."""
        out: list[Command] = []
        while self._waiting:
            key, ask = next(iter(self._waiting.items()))
            # Counted again each time: what was here may have been evicted, what was not may have come.
            missing = [need for oid, need in ask.needs.items() if oid not in self._pulls and not self._is_here(oid)]
            needed = sum(aligned(need.size) for need in missing)
            if needed and needed > room - self._promised and needed <= self._capacity:
                if ask.since is None:
                    ask.since = now
                if now < ask.since + self._patience_s:
                    break
            del self._waiting[key]
            self._begun[key] = ask
            self._totals["begun"] += 1
            out.append(Begin(ask.client, ask.request_id))
            for need in ask.needs.values():
                pull = self._pulls.get(need.object_id)
                if pull is None and not self._is_here(need.object_id):
                    pull = self._pulls[need.object_id] = _Pull(need, self._node_id)
                    self._promised += aligned(need.size)
                    out.append(Reserve(need.object_id, need.size))
                if pull is not None:
                    pull.askers[ask] = None
        for pull in [pull for pull in self._paused.values() if pull.retry_at <= now]:
            del self._paused[pull.object_id]
            self._line_up(pull)
        self._start(out)
        return out

    def wake_at(self) -> float | None:
        """When `review` has something to do though nothing else happens."""
        times = [pull.retry_at for pull in self._paused.values()]
        if self._waiting:
            since = next(iter(self._waiting.values())).since
            if since is not None:
                times.append(since + self._patience_s)
        return min(times, default=None)

    # --- what became of the room ------------------------------------------------------------------------------------------

    def created(self, object_id: bytes) -> list[Command]:
        """There is a range for the copy."""
        out: list[Command] = []
        pull = self._pulls.get(object_id)
        if pull is None or pull.stage is not _Stage.ROOM:
            return [Drop(object_id)] if pull is None else out
        self._promised -= aligned(pull.size)
        self._line_up(pull)
        self._start(out)
        return out

    def exists(self, object_id: bytes) -> list[Command]:
        """The object is here, made or sealed by somebody else: nothing to fetch."""
        out: list[Command] = []
        pull = self._pulls.get(object_id)
        if pull is not None:
            self._leave_stage(pull, out)
            del self._pulls[object_id]
            self._start(out)
        return out

    def full(self, object_id: bytes, reason: object) -> list[Command]:
        """There is no room for the copy, says the store; `reason` comes back in Fail."""
        out: list[Command] = []
        pull = self._pulls.get(object_id)
        if pull is not None:
            self._give_up(pull, None, reason, out, dropped=True)
            self._start(out)
        return out

    # --- what became of a fetch -------------------------------------------------------------------------------------------

    def done(self, object_id: bytes, attempt: int) -> list[Command]:
        """Every byte is there."""
        out: list[Command] = []
        pull = self._current(object_id, attempt)
        if pull is not None:
            self._totals["fetched"] += 1
            self._fetching -= 1
            del self._pulls[object_id]
            out.append(Seal(object_id))
            self._start(out)
        return out

    def redirected(self, object_id: bytes, attempt: int, node_id: bytes, *, now: float) -> list[Command]:
        """The root is sending it to others and points to one that has some of it already."""
        pull = self._current(object_id, attempt)
        if pull is None:
            return []
        out: list[Command] = []
        if pull.node != pull.root or node_id in (self._node_id, pull.root) or node_id in pull.avoid:
            return self.failed(object_id, attempt, Trouble.BROKEN, "it points to where it must not", now=now)
        self._totals["redirected"] += 1
        self._fetching -= 1
        pull.node = node_id
        self._line_up(pull)
        self._start(out)
        return out

    def failed(self, object_id: bytes, attempt: int, trouble: Trouble, reason: str, *, now: float) -> list[Command]:
        """The fetch came to nothing."""
        pull = self._current(object_id, attempt)
        if pull is None:
            return []
        out: list[Command] = []
        self._fetching -= 1
        self._totals["broken"] += trouble is Trouble.BROKEN
        self._trouble(pull, trouble, reason, now, out)
        self._start(out)
        return out

    def node_died(self, node_id: bytes, reason: str, *, now: float) -> list[Command]:
        """A node is dead: nothing is fetched from it any more."""
        out: list[Command] = []
        for pull in list(self._pulls.values()):
            if self._pulls.get(pull.object_id) is not pull:
                continue  # it went with an ask that needed another one, too
            if node_id in pull.sources:
                pull.sources.remove(node_id)
                pull.reasons.append(f"node {node_id.hex()} is dead: {reason}")
            # A detour may well finish without its root; and what has no range yet will find out.
            if node_id != pull.node or pull.stage is _Stage.ROOM:
                continue
            self._leave_stage(pull, out)
            self._trouble(pull, Trouble.DEAD, reason, now, out)
        self._start(out)
        return out

    # --- looking ----------------------------------------------------------------------------------------------------------

    def attempt_of(self, object_id: bytes) -> int | None:
        """The attempt that is being fetched; None when none is."""
        pull = self._pulls.get(object_id)
        return pull.attempt if pull is not None and pull.stage is _Stage.FETCHING else None

    def statistics(self) -> dict[str, int]:
        """Sizes, and totals since the start."""
        return {
            "pull_requests_waiting": len(self._waiting),
            "pull_requests_begun": len(self._begun),
            "pulls": len(self._pulls),
            "pulls_fetching": self._fetching,
            **{f"pulls_{name}_total": count for name, count in self._totals.items()},
        }

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError. O(n): for tests."""
        assert not self._waiting.keys() & self._begun.keys(), "an ask waits or has begun"
        asks = [*self._waiting.values(), *self._begun.values()]
        counted: dict[Hashable, int] = {}
        for ask in asks:
            counted[ask.client] = counted.get(ask.client, 0) + len(ask.needs)
        assert {who: n for who, n in self._by_client.items() if n} == {who: n for who, n in counted.items() if n}
        stages = [pull.stage for pull in self._pulls.values()]
        assert self._fetching == stages.count(_Stage.FETCHING) <= MAX_FETCHES, "fetches are counted and bounded"
        assert set(self._ready) == {oid for oid, pull in self._pulls.items() if pull.stage is _Stage.READY}
        assert not self._ready or self._fetching == MAX_FETCHES, "nobody waits for a fetch that could be made"
        assert set(self._paused) == {oid for oid, pull in self._pulls.items() if pull.stage is _Stage.PAUSED}
        promised = sum(aligned(pull.size) for pull in self._pulls.values() if pull.stage is _Stage.ROOM)
        assert self._promised == promised, "promised bytes are counted"
        begun = set(self._begun.values())
        for oid, pull in self._pulls.items():
            assert pull.askers, "what nobody wants is not pulled"
            assert pull.askers.keys() <= begun, "what nobody has begun to want is not pulled"
            assert all(oid in ask.needs for ask in pull.askers), "a pull is for those who need it"
            assert pull.root not in pull.sources, "a root is tried once"
        for ask in self._begun.values():
            for oid in ask.needs:
                assert self._is_here(oid) or oid not in self._pulls or ask in self._pulls[oid].askers

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _current(self, object_id: bytes, attempt: int) -> _Pull | None:
        pull = self._pulls.get(object_id)
        if pull is None or pull.stage is not _Stage.FETCHING or pull.attempt != attempt:
            return None  # it was stopped
        return pull

    def _line_up(self, pull: _Pull) -> None:
        pull.stage = _Stage.READY
        self._ready[pull.object_id] = pull

    def _start(self, out: list[Command]) -> None:
        for oid, pull in self._next():
            del self._ready[oid]
            if not pull.root:
                self._give_up(pull, Trouble.ABSENT, "no node is known to have it", out)
                continue
            pull.stage = _Stage.FETCHING
            self._fetching += 1
            self._attempts += 1
            pull.attempt = self._attempts
            detour = pull.node != pull.root
            direct = detour or len(pull.avoid) >= MAX_DETOURS
            out.append(Fetch(oid, pull.size, pull.node, pull.attempt, direct, () if detour else tuple(pull.avoid)))

    def _next(self) -> Iterator[tuple[bytes, _Pull]]:
        while self._ready and self._fetching < MAX_FETCHES:
            yield next(iter(self._ready.items()))

    def _trouble(self, pull: _Pull, trouble: Trouble, reason: str, now: float, out: list[Command]) -> None:
        """What to do about a fetch that failed; the pull is in no stage."""
        if pull.node != pull.root and trouble is not Trouble.FREED:
            pull.avoid.append(pull.node)
            pull.node = pull.root
            self._line_up(pull)
            return
        again = False
        tries = 0
        if trouble is Trouble.BUSY:
            tries = pull.busy = pull.busy + 1
            again = tries < MAX_BUSY
        elif trouble is Trouble.UNKNOWN:
            tries = pull.unknown = pull.unknown + 1
            again = tries < MAX_UNKNOWN
        elif trouble is Trouble.BROKEN:
            tries = pull.breaks = pull.breaks + 1
            again = tries < (MAX_BREAKS if pull.sources else MAX_LAST_BREAKS)
        if again:
            pull.stage = _Stage.PAUSED
            self._paused[pull.object_id] = pull
            pull.retry_at = now + min(PAUSE_CAP_S, PAUSE_S * 2 ** (tries - 1))
            return
        text = (
            f"node {pull.node.hex()} is dead: {reason}"
            if trouble is Trouble.DEAD
            else f"node {pull.node.hex()}: {reason}"
        )
        pull.reasons.append(text)
        if trouble is Trouble.FREED or not pull.sources:
            self._give_up(pull, trouble, "; ".join(pull.reasons), out)
            return
        pull.root = pull.node = pull.sources.pop(0)
        pull.breaks = pull.busy = pull.unknown = 0
        pull.avoid.clear()
        self._line_up(pull)

    def _give_up(
        self, pull: _Pull, trouble: Trouble | None, reason: object, out: list[Command], *, dropped: bool = False
    ) -> None:
        """The object cannot be had: every ask that wants it fails."""
        self._totals["failed"] += 1
        if pull.stage is _Stage.ROOM:
            self._promised -= aligned(pull.size)
        del self._pulls[pull.object_id]
        if not dropped:
            out.append(Drop(pull.object_id))
        for ask in list(pull.askers):
            out.append(Fail(ask.client, ask.request_id, pull.object_id, trouble, reason))
            self._end((ask.client, ask.request_id), out)

    def _end(self, key: tuple[Hashable, Hashable], out: list[Command]) -> None:
        ask = self._waiting.pop(key, None)
        if ask is None:
            ask = self._begun.pop(key, None)
            if ask is None:
                return
            for oid in ask.needs:
                pull = self._pulls.get(oid)
                if pull is None or ask not in pull.askers:
                    continue
                del pull.askers[ask]
                if not pull.askers:
                    self._leave_stage(pull, out)
                    del self._pulls[oid]
                    out.append(Drop(oid))
        self._by_client[ask.client] -= len(ask.needs)
        if not self._by_client[ask.client]:
            del self._by_client[ask.client]

    def _leave_stage(self, pull: _Pull, out: list[Command]) -> None:
        if pull.stage is _Stage.FETCHING:
            out.append(Stop(pull.object_id, pull.attempt))
            self._fetching -= 1
        elif pull.stage is _Stage.ROOM:
            self._promised -= aligned(pull.size)
        else:
            self._ready.pop(pull.object_id, None)
            self._paused.pop(pull.object_id, None)
