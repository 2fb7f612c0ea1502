"""How a process shows from which worker it descends, whatever became of those in between."""

from __future__ import annotations

from typing import Final

#: A worker's id, in hex, in the environment of every program that it starts.
WORKER_VARIABLE: Final = "MANTA_WORKER_ID"

#: Far more than any process can use, and room below it for 56 bits of an id.
_LIMIT: Final = 1 << 62


def limit_mark(worker_id: bytes) -> int:
    """A worker's own number for its soft RLIMIT_RTTIME, microseconds.

    The limit concerns only processes with a real-time priority, which never reach this value. Unlike the environment it is
    inherited by a fork that runs no program and by a program that is given an empty environment; and anybody may read it.
    """
    return _LIMIT | int.from_bytes(worker_id[:7], "big")
