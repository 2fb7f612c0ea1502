"""The thread that reserves, warms and gives back, in the order it was told.

These calls take from milliseconds to seconds and let go of the GIL; on the raylet's loop they would stop everything. One
thread and one order: an extent that is given up is gone before another is taken, so the arena never exceeds its capacity.
"""

import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from types import TracebackType

from manta.raylet.objects.arena import ArenaFile
from manta.raylet.objects.commands import (
    ArenaCommand,
    ArenaEvent,
    ExtentRefused,
    ExtentReserved,
    HolePunched,
    PunchHole,
    RangeWarmed,
    ReserveExtent,
    Warm,
)
from manta.shm.errors import ReservationError

#: How much is touched between two looks at whether somebody waits for something else.
_WARM_STEP_BYTES = 8 << 20


class Keeper:
    """Performs the arena's commands; a context manager.

    The queue is bounded by the number of extents: the allocator has at most one command out for each.
    """

    def __init__(self, arena: ArenaFile, extent: int, report: Callable[[ArenaEvent], None]) -> None:
        """Do not start yet.

        Args:
            arena: What to work on. It outlives the keeper.
            extent: Reservations are made, and reported, in steps of this many bytes.
            report: Called in the keeper's thread with each result, for instance a loop's `call_soon_threadsafe` bound to a
                handler. Its exceptions end the thread and are raised by `__exit__`.
        """
        self._arena, self._extent, self._report = arena, extent, report
        self._commands: SimpleQueue[ArenaCommand | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="manta-arena", daemon=True)
        self._stopping = False
        self._failure: BaseException | None = None

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread; commands not begun are dropped. Raises what the report raised."""
        self._stopping = True
        self._commands.put(None)
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def perform(self, commands: Iterable[ArenaCommand]) -> None:
        """Do these after all that were given before. Returns at once; from any thread."""
        for command in commands:
            self._commands.put(command)

    def _run(self) -> None:
        try:
            while (command := self._commands.get()) is not None and not self._stopping:
                if isinstance(command, ReserveExtent):
                    self._reserve(command)
                elif isinstance(command, PunchHole):
                    # Refused, the pages stay, reserved and counted once: a later reservation of them costs nothing.
                    self._arena.give_back(command.start, command.size)
                    self._report(HolePunched(command.start, command.size, command.cause))
                else:
                    self._warm(command)
        except BaseException as error:  # noqa: BLE001 - raised by __exit__
            self._failure = error

    def _reserve(self, command: ReserveExtent) -> None:
        end = command.start + command.size
        for start in range(command.start, end, self._extent):
            if self._stopping:
                return
            try:
                self._arena.reserve(start, self._extent)
            except ReservationError as error:
                self._report(ExtentRefused(start, end - start, str(error), command.cause))
                return
            self._report(ExtentReserved(start, self._extent, command.cause))

    def _warm(self, command: Warm) -> None:
        end = command.start + command.size
        for start in range(command.start, end, _WARM_STEP_BYTES):
            # Warming is a favour: it stops when somebody waits for a reservation, or when it does not work here.
            if not self._commands.empty() or not self._arena.warm(start, min(_WARM_STEP_BYTES, end - start)):
                break
        self._report(RangeWarmed(command.start, command.size, command.cause))
