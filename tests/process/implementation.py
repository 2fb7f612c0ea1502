"""Which implementation of the programming model a test run drives: Manta, or Ray as the yardstick.

The tests in `programs/` and `semantics/` are written against `import ray`. By default that name is Manta's alias
(`manta.compat`); with `MANTA_TEST_IMPLEMENTATION=ray` it is the real Ray of the interpreter that runs pytest, and the
very same files show that the expectations are Ray's and not ours. See README.md beside this file.
"""

from __future__ import annotations

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

#: "manta" (default) or "ray".
NAME = os.environ.get("MANTA_TEST_IMPLEMENTATION", "manta")
if NAME not in ("manta", "ray"):
    raise RuntimeError(f"MANTA_TEST_IMPLEMENTATION is {NAME!r}; it must be 'manta' or 'ray'")

IS_RAY = NAME == "ray"
IS_MANTA = not IS_RAY

#: Drivers are outside of their cluster: `pytest --through-gateway`.
THROUGH_GATEWAY = IS_MANTA and os.environ.get("MANTA_TEST_GATEWAY", "") not in ("", "0")


def install() -> None:
    """Make `import ray` mean the chosen implementation in this process."""
    if IS_MANTA:
        from manta import compat

        compat.install()
        if THROUGH_GATEWAY:
            from tests.support import through_gateway

            through_gateway.warm_up()
            through_gateway.install()


def driver_command(*argv: str, starter: str = "") -> list[str]:
    """The command line of a driver process that runs `argv` (a script and its arguments), by another module if one is named."""
    starter = starter or ("tests.support.through_gateway" if THROUGH_GATEWAY else "manta.compat")
    return [sys.executable, "-u", *([] if IS_RAY else ["-m", starter]), *argv]


def driver_environment(**extra: str) -> dict[str, str]:
    """The environment of a driver process: ours, without settings that would change what it prints."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "MANTA_")) or name in ("MANTA_TEST_IMPLEMENTATION", "MANTA_TEST_GATEWAY")
    }
    if IS_MANTA:
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (_ROOT, kept.get("PYTHONPATH"))))
    settled = {
        "RAY_COLOR_PREFIX": "0",
        # Ray folds equal-but-for-digits lines of several workers into one; the programs were recorded before it did.
        **({"RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0"} if IS_RAY else {}),
    }
    return {**kept, **settled, **extra}
