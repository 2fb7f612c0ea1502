"""Process tests that say something about drivers on a node alone: not run with `--through-gateway`, each for a reason."""

from __future__ import annotations

#: Ends of node ids, or parts of paths, and why.
NOT_OUTSIDE = {
    "test_long_waits.py::test_a_get_that_waited_ten_seconds_says_once_for_what": (
        "how far a task is its session's process knows, and the driver does not ask"
    ),
    "test_threads_forks_signals.py::test_an_interrupt_every_two_milliseconds_loses_nothing": (
        "its rounds have to be done between two interrupts, and through a gateway none is done in two milliseconds"
    ),
    "objects/test_threaded_actors.py": "looks into the session of a process on a node",
    "process/channel/": "about sockets of a process on a node",
    "process/pump/": "about how a process on a node reads its sockets",
    "process/shm/": "about mapped memory",
    "process/raylet/": "starts raylets by hand",
    "process/control/": "starts control by hand",
    "process/gateway/": "has gateways of its own",
    "process/forwarding/": "has gateways of its own",
}


def why_not(node_id: str) -> str | None:
    """Why this test is not run through a gateway; None for no reason."""
    return next((why for part, why in NOT_OUTSIDE.items() if part in node_id), None)
