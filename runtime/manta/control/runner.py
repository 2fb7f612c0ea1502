"""Performs what the state decides: writes go to the store at once, everything that leaves the process waits for their commit."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from manta.control.commands import Command, ForgetNode, OnNode, Publish, Table, Write
from manta.control.errors import LimitExceededError, NoRoomForStoreError, StoppingError
from manta.control.events import Event, Tick
from manta.control.model import Instant
from manta.control.records import encode
from manta.control.state import ControlState
from manta.control.storage import Shortage, Storage, StoreWrite
from manta.control.watching import Watchers
from manta.core.errors import StorageUnwritableError

#: Callers that may wait for commits at once; more are refused and come back later.
WAITING_LIMIT = 20_000
#: Time is looked at so often at least, seconds: the resolution in which silence is noticed.
TICK_S = 0.25
#: A start whose number cannot be written takes one of so many.
LEAP = 1 << 31


def system_clock() -> Instant:
    """Now, from the system's clocks."""
    return Instant(time.monotonic(), time.time_ns() // 1_000_000)


class Runner:
    """The only one that calls `state.handle`, on the event loop's thread, one event at a time.

    Args:
        state: Decides.
        storage: Opened; this starts it.
        watchers: Hear of published rows.
        on_node: Takes what is for nodes; must not block.
        clock: Now.
    """

    def __init__(
        self,
        state: ControlState,
        storage: Storage,
        watchers: Watchers,
        on_node: Callable[[OnNode | ForgetNode], None],
        clock: Callable[[], Instant] = system_clock,
    ) -> None:
        self.state = state
        self.watchers = watchers
        self._storage = storage
        self._on_node = on_node
        self._clock = clock
        self._last = 0
        #: (number of a batch, who waits for it), numbers ascending.
        self._waiting: deque[tuple[int, asyncio.Future[bool]]] = deque()
        #: Those of them that do not insist.
        self._patient: set[asyncio.Future[bool]] = set()
        #: Why nothing new should be begun; None while the store has room.
        self.shortage: Shortage | None = None
        #: Called when that changes.
        self.on_shortage: dict[Callable[[], None], None] = {}
        #: What control died of; set once.
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._earlier = asyncio.Event()
        self._sleeps_until = 0.0
        self._events = 0
        #: Called when the nodes have something to hear of each other.
        self.on_cluster: Callable[[], None] = lambda: None
        #: Called with every event that has changed a table, or what a node's work is; None while nobody wants to hear.
        self.on_changed: Callable[[], None] | None = None
        #: Called with the id of each placement group that is written anew.
        self.on_group: Callable[[bytes], None] = lambda _group_id: None
        self._cluster_seen = self._loads_seen = 0
        storage.start(self._committed, self._store_failed, self._store_short)
        self.perform(state.opening)

    # ---- deciding

    def decide(self, event: Event) -> Any:
        """Handle one event and perform what follows; returns the answer, which nobody may see before `settled`.

        Raises:
            ControlError: Refused; nothing has changed.
        """
        if self.failure.done():
            raise StoppingError("control is stopping; repeat the request once it is back")
        self._events += 1
        answer, commands = self.state.handle(event, self._clock())
        if commands:
            self.perform(commands)
        version = self.state.nodes.cluster.version
        if version != self._cluster_seen:
            self._cluster_seen = version
            self.on_cluster()
        if self.on_changed is not None:
            loads = self.state.nodes.loads
            if commands or loads != self._loads_seen:
                self._loads_seen = loads
                self.on_changed()
        return answer

    def check_room(self) -> None:
        """Take no request while too many wait.

        Raises:
            LimitExceededError: They do.
        """
        if len(self._waiting) >= WAITING_LIMIT:
            raise LimitExceededError(f"{WAITING_LIMIT} requests wait for the store; repeat this one later")

    def perform(self, commands: list[Command]) -> None:
        """Set commands in motion. All their writes are one batch: on disk they are there together or not at all."""
        writes: list[StoreWrite] = [
            (command.table, command.key, encode(command.table, command.row))
            for command in commands
            if type(command) is Write
        ]
        if writes:
            self._last = self._storage.submit(writes)
        for command in commands:
            if isinstance(command, Publish):
                self.watchers.publish(command.row)
            elif not isinstance(command, Write):
                self._on_node(command)
            elif command.table is Table.GROUPS:
                self.on_group(command.key)
        due = self.state.actors.next_due()
        if due is not None and due < self._sleeps_until:
            self._earlier.set()

    # ---- commits

    async def settled(self) -> None:
        """Return once everything decided so far is on disk. Whoever sends anything out of the process waits for this.

        Raises:
            StoppingError: It will not be: the store failed.
        """
        waits = self._waits()
        if waits is not None:
            await waits

    async def settled_or_stuck(self) -> bool:
        """As `settled`, for what claims nothing new: what was read, and that a node was heard. It does not wait for room.

        Returns:
            Whether everything decided so far is on disk; False as soon as the store cannot be written.

        Raises:
            StoppingError: See `settled`.
        """
        waits = self._waits(patient=True)
        if waits is None:
            return self._storage.committed >= self._last
        self._patient.add(waits)
        try:
            return await waits
        finally:
            self._patient.discard(waits)

    def _waits(self, *, patient: bool = False) -> asyncio.Future[bool] | None:
        """Done when everything decided so far is on disk; None if it is, or, for the patient, if nothing can be written."""
        if self.failure.done():
            raise StoppingError("control is stopping; repeat the request once it is back")
        stuck = self.shortage is not None and self.shortage.stuck
        if self._storage.committed >= self._last or (patient and stuck):
            return None
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._last, future))
        return future

    def _committed(self, number: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= number:
            future = waiting.popleft()[1]
            if not future.done():
                future.set_result(True)

    def _store_short(self, shortage: Shortage | None) -> None:
        if shortage is not None and shortage.stuck:
            if not self._storage.committed and not self._begin_unwritten(shortage.error):
                return
            for future in self._patient:
                if not future.done():
                    future.set_result(False)
        self.shortage = shortage
        for listener in list(self.on_shortage):
            listener()

    def _begin_unwritten(self, error: StorageUnwritableError) -> bool:
        """The number of this start is not on disk. Whether there is something to go on with all the same."""
        if not self.state.founded:
            self._store_failed(NoRoomForStoreError(error.path, error.reason, error.free_bytes))
            return False
        if self.shortage is None or not self.shortage.stuck:
            self.perform(self.state.leap(1 + secrets.randbelow(LEAP)))
        return True

    def _store_failed(self, error: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)
        while self._waiting:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_exception(StoppingError(f"control is stopping, as {error}"))

    # ---- time

    async def watch_time(self) -> None:
        """Tick whenever something is due. Runs for ever."""
        while True:
            now = self._clock().s
            due = self.state.next_due()
            if due is not None and due <= now:
                self.decide(Tick(cause="time"))
                due = self.state.next_due()
            pause = TICK_S if due is None else min(TICK_S, max(0.0, due - self._clock().s))
            self._sleeps_until = now + pause
            self._earlier.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._earlier.wait()
            except TimeoutError:
                pass

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {
            **self.state.statistics(),
            **self.watchers.statistics(),
            **self._storage.statistics(),
            "events_handled": self._events,
            "requests_waiting": len(self._waiting),
        }
