"""Where this process stands: what `manta stack` shows of it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

    from manta.client.direct import DirectSession
    from manta.rpc.v1 import channel_pb2 as pb


def answer(session: DirectSession, asked: pb.StackRequest) -> pb.StackReply:
    """What is said to a tool that asks."""
    from manta.rpc.v1 import channel_pb2 as pb

    return pb.StackReply(request_id=asked.request_id, pid=session.pid, title=session.title(), stacks=stacks(session))


def stacks(session: DirectSession) -> list[str]:
    """One text per thread, the main thread first, then one per call under way on an event loop.

    Each text is a title that ends in a colon, then frames as tracebacks show them, the innermost last. What a `get` or `wait`
    waits for follows as a line that begins with an arrow: it is read out of the waiting frame, so that waiting itself keeps
    no books. The thread that answers is left out unless it waits for something else. Called under the session's lock.
    """
    import sys
    import threading

    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    service = session.pump.service_thread
    texts = [
        f"Thread {names.get(ident, ident)}:\n" + "".join(_lines(frame))
        for ident, frame in sorted(sys._current_frames().items(), key=lambda item: item[0] != main)
        if ident != service
    ]
    texts.extend(_calls(session))
    return texts


def _lines(innermost: FrameType) -> Iterator[str]:
    """The frames of a thread down to our own waiting, and what that waits for."""
    import traceback

    frames = [(frame, line) for frame, line in traceback.walk_stack(innermost)]
    frames.reverse()
    note = ""
    for at, (frame, _) in enumerate(frames):
        if frame.f_globals.get("__name__") == "manta.client.patience" and frame.f_code.co_name == "wait_for":
            # What is below is how we wait, and, in a thread that reads the sockets, how we came to answer.
            note = _waits_for(frame)
            del frames[at:]
            break
        if frame.f_globals.get("__name__") == "manta.client.pump" and frame.f_code.co_name == "poll_once":
            # It looked at the sockets in passing, and found the question.
            del frames[at:]
            break
    yield from traceback.StackSummary.extract(iter(frames)).format()
    if note:
        yield f"  -> {note}\n"


def _waits_for(frame: FrameType) -> str:
    what = frame.f_locals.get("what")
    try:
        return f"waits for {what() if callable(what) else what}"
    except Exception as broken:  # noqa: BLE001 - the state may be half changed; the stack is worth showing all the same
        return f"waits for something ({type(broken).__name__} while describing it)"


def _calls(session: DirectSession) -> Iterator[str]:
    """Calls of an async actor that wait for something: no thread stands in them."""
    import sys

    loop = session.pump.loop
    if loop is None or "asyncio" not in sys.modules:
        return
    import asyncio
    import traceback

    for task in asyncio.all_tasks(loop):
        frames = list(_awaiting(task.get_coro()))
        if not frames:
            continue
        template = frames[0].f_locals.get("template")
        if frames[0].f_globals.get("__name__") == "manta.worker.coroutines" and template is None:
            continue
        name = getattr(template, "name", None) or task.get_name()
        summary = traceback.StackSummary.extract(iter([(frame, frame.f_lineno) for frame in frames]))
        yield f"Call {name}:\n" + "".join(summary.format())


def _awaiting(coroutine: Any) -> Iterator[FrameType]:
    """Frames of a suspended coroutine, from the outermost to where it awaits; a task's own get_stack shows the first alone."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is None:
            return
        yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
