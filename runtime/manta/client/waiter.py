"""What a thread waits for, whoever reads what it waits for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading


class Waiter:
    """Something a thread waits for. A handler sets `done` under the lock, through `Pump.finish`."""

    __slots__ = ("done", "sleeping", "wakeup")

    def __init__(self) -> None:
        #: What was waited for has come.
        self.done = False
        #: The thread sleeps on `wakeup` rather than reading the sockets.
        self.sleeping = False
        #: Made when first needed: most waits read the sockets themselves.
        self.wakeup: threading.Lock | None = None
