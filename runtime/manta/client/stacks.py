"""Where every thread of this process stands: what `manta stack` shows."""

from __future__ import annotations


def stacks() -> list[str]:
    """One text per thread, the main thread first."""
    import sys
    import threading
    import traceback

    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    frames = sorted(sys._current_frames().items(), key=lambda item: item[0] != main)
    return [f"Thread {names.get(ident, ident)}:\n" + "".join(traceback.format_stack(frame)) for ident, frame in frames]
