"""Named steps at which a test can have this process die. In production the table is empty and a step costs a dict lookup."""

from __future__ import annotations

import os
import signal

#: Environment variable: "name" or "name:n" (at the n-th time), several separated by commas.
VARIABLE = "MANTA_CONTROL_FAILPOINTS"

#: Steps that exist, so that a misspelt one is noticed.
STEPS = (
    "before-commit",
    "after-commit-before-reply",
    "before-start-on-node",
    "after-start-on-node",
    "before-prepare-on-node",
    "after-prepare-on-node",
    "before-open-on-node",
    "after-open-on-node",
    "before-return-on-node",
    "after-return-on-node",
)


def parse(text: str) -> dict[str, int]:
    """What the variable says: step to the count at which to die.

    Raises:
        ValueError: A step doesn't exist.
    """
    armed: dict[str, int] = {}
    for item in filter(None, text.split(",")):
        step, _, count = item.partition(":")
        if step not in STEPS:
            raise ValueError(f"{VARIABLE}: no step {step!r}; there are {', '.join(STEPS)}")
        armed[step] = int(count or 1)
    return armed


_armed = parse(os.environ.get(VARIABLE, ""))


def reached(step: str) -> None:
    """Die here, as by SIGKILL, if the step is armed and this is the time."""
    if not _armed:
        return
    left = _armed.get(step)
    if left is None:
        return
    if left > 1:
        _armed[step] = left - 1
        return
    os.kill(os.getpid(), signal.SIGKILL)
