"""What runs now in this thread or coroutine: behind the runtime context, cancels and error texts."""

from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Running:
    """One task or call while it runs."""

    __slots__ = ("attempt", "cancelled", "children", "name", "oid", "prune_at", "template")

    def __init__(self, oid: bytes, name: str, attempt: int, template: Any) -> None:
        #: Id of its first result; the first 24 bytes are the task's.
        self.oid = oid
        self.name = name
        self.attempt = attempt
        self.template = template
        #: Somebody asked to cancel it.
        self.cancelled = False
        #: First results of tasks it submitted, for recursive cancels; made when the first one is.
        self.children: list[bytes] | None = None
        #: When there are so many, those that are over are forgotten.
        self.prune_at = 1024


#: The task that runs here; None in a driver and in threads of the user's own.
running: ContextVar[Running | None] = ContextVar("manta_running", default=None)
