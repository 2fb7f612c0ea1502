"""What a call is to its worker: its template, its place in the queue, and the frame below which user code runs."""

from __future__ import annotations

import os
import sys

from manta.client.signals import open_to_interrupts
from manta.worker.factory import exit_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manta.client.links import Link
    from manta.client.user import UserSession
    from manta.rpc.v1 import channel_pb2 as pb

#: A finished result is not held back while a task starts that is expected to take longer than this, in microseconds.
HOLD_BACK_US = 200

#: A task as it waits here: link, id of its first result, template, serialised arguments, what is special about it.
Queued = tuple["Link", bytes, "WorkerTemplate", bytes, "pb.TaskExtra | None"]


class WorkerTemplate:
    """What an owner's template number means."""

    __slots__ = (
        "definition",
        "estimate_us",
        "flush_first",
        "function",
        "max_calls",
        "name",
        "num_returns",
        "retry_classes",
    )

    def __init__(self, definition: pb.DefineTemplate) -> None:
        self.definition = definition
        # What every call asks for, read once: a field of a message costs three times what a slot does.
        self.name: str = definition.name
        self.flush_first: bool = definition.flush_first
        self.num_returns: int = definition.num_returns
        self.max_calls: int = definition.max_calls
        #: The function, once it was needed.
        self.function: Callable[..., Any] | None = None
        #: How long it takes; a template not seen yet counts as long.
        self.estimate_us = 1_000_000
        #: Exception classes worth a retry, once they were needed.
        self.retry_classes: tuple[type[BaseException], ...] | None = None


class ActorExit(SystemExit):
    """`exit_actor()` was called."""


@open_to_interrupts
def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """User code runs below this frame, and only there may an interrupt land."""
    return function(*args, **kwargs)


def nth(oid: bytes, number: int) -> bytes:
    """Id of a task's result number `number`, from 0."""
    return oid if not number else oid[:24] + (number + 1).to_bytes(4, "little")


def leave_if_forked(session: UserSession, error: BaseException | None) -> None:
    """In a child that user code forked and let come back here: end it, as a script ends.

    The loop above is the parent's: in the child it would take tokens of the parent's tasks, write into its memory, and turn off
    what wakes it.

    Args:
        session: Closed, as it is in the child of a fork; and in a process that ends, where nothing happens here.
        error: What the child raised; None if it returned.
    """
    if os.getpid() == session.pid:
        return
    code = 0
    try:
        if isinstance(error, SystemExit):
            code = exit_code(error)
        elif error is not None:
            code = 1
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
