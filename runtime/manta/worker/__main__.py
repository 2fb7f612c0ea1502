"""`python -m manta.worker`: the factory that workers are forked from. Started by a raylet, of no use to people."""

from __future__ import annotations

import sys

#: What a worker runs unless the raylet says otherwise.
ENTRY = "manta.worker.executor:run_worker"


def run(arguments: list[str]) -> int:
    """Read `FD RAYLET_PID [MODULE:FUNCTION]` and be a factory."""
    if len(arguments) not in (2, 3) or not all(text.isdigit() for text in arguments[:2]):
        print("usage: python -m manta.worker FD RAYLET_PID [MODULE:FUNCTION]  (started by a raylet)", file=sys.stderr)  # noqa: T201
        return 2
    from manta.worker.factory import main

    main(int(arguments[0]), int(arguments[1]), arguments[2] if len(arguments) == 3 else ENTRY)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
