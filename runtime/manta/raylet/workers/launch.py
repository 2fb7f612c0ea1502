"""Starting a factory process. Imports little: a node does this before anything else, so that both get ready side by side."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from manta.raylet.workers.guard import Guard

#: Where a factory writes that has no environment of its own, in the folder of logs.
FACTORY_LOG: Final = "factory.log"
#: Process id of a started factory and our end of the socket to it.
Launched = tuple[int, socket.socket]


def launch(
    guard: Guard, log: Path, *, environment: Mapping[str, str] | None = None, entry: str | None = None
) -> Launched:
    """Start `python -m manta.worker` as a child of the guard.

    Args:
        guard: Starts it.
        log: File that gets its output, which is only ever about its own failures.
        environment: Added to our own environment.
        entry: "module:function" that its workers run; None for what they are made for.

    Raises:
        OSError: It cannot be started.
    """
    # A factory or worker that gets stuck, or dies in C code, says where: see `process.Watch.abort`.
    words = [
        sys.executable,
        "-P",  # workers get their driver's import path; until then a file in the current folder must not stand in for Python's
        "-X",
        "faulthandler",
        "-m",
        "manta.worker",
        "{fd}",
        "{parent}",
        *([entry] if entry else []),
    ]
    ours, theirs = socket.socketpair()
    try:
        pid = guard.launch(words, environment or {}, log, theirs.fileno())
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return pid, ours
