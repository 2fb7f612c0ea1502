"""Process groups by what no other group will ever have: their number may be given again, their leader's start is not.

A number is free again only when the leader and every member are gone. So a group of that number is the one that was meant if
its leader began when that one did, or is gone and every member began after it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


def identity(leader: int) -> dict[str, Any]:
    """What makes a group known again: of a process that leads one and has not been waited for."""
    return {"group": leader, "started": _stat(leader)[1], "boot": _boot()}


def kill(group: Mapping[str, Any], number: signal.Signals, proc: Path = _PROC) -> bool:
    """Send a signal to a group, if it is still the one that `identity` told of; whether it was.

    Args:
        group: What `identity` returned, perhaps in another process before.
        number: Which.
        proc: For tests.
    """
    leader, started = group.get("group"), group.get("started")
    if not isinstance(leader, int) or not isinstance(started, int) or leader <= 1 or group.get("boot") != _boot():
        return False
    try:
        same = _stat(leader, proc)[1] == started
    except OSError:
        members = list(_members(leader, proc))
        same = bool(members) and all(began >= started for began in members)
    if same:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)
    return same


def _members(group: int, proc: Path) -> Iterator[int]:
    """When each of them began."""
    for name in os.listdir(proc):
        if name.isdigit():
            with suppress(OSError):
                of, began = _stat(int(name), proc)
                if of == group:
                    yield began


def _stat(pid: int, proc: Path = _PROC) -> tuple[int, int]:
    """A process's group, and when it began, in ticks since the machine did."""
    fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[2]), int(fields[19])


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
