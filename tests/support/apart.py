"""The first process of namespaces of its own: what it says, a line of JSON at a time, and its end.

It reads its standard input, and ends, with everything in its namespaces, when that is closed.
"""

from __future__ import annotations

import json
import selectors
import subprocess
from typing import Any


def hear(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    """The next thing it says; `failed` and why if it says nothing."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(timeout_s):
            return {"failed": f"nothing heard from it for {timeout_s:g} s"}
    line = process.stdout.readline()  # it writes whole lines
    if not line:
        return {"failed": f"its first process ended with status {process.wait()}"}
    answer: dict[str, Any] = json.loads(line)
    return answer


def end(process: subprocess.Popen[str], timeout_s: float) -> None:
    """Tell it that nobody needs it any more, and wait until it has ended; killed if that takes too long."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()  # --kill-child takes the rest along
        process.wait()
    process.stdout.close()
