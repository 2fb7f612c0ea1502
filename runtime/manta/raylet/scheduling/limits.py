"""What a node does in moderation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a node does in moderation."""

    #: Workers being started at one time. More do not start sooner, they only share the CPUs while the first is waited for.
    max_starting: int = 8
    #: Workers forked when a driver is admitted, for its first tasks.
    prestart: int = 4
    #: Idle workers kept for actors to come, at most.
    max_spares: int = 16
    #: An actor start is "lately" for so long, seconds.
    spare_window_s: float = 2.0
    #: An idle worker above the node's CPUs is asked to leave after this, seconds.
    idle_s: float = 1.0
    #: How long the brake on a shape's processes holds first and at most, seconds.
    brake_first_s: float = 0.25
    brake_cap_s: float = 10.0
    #: Leases of a shape that takes nothing at all.
    nothing_bound: int = 128
    #: A lease is asked back for others when it is this old, seconds; shorter turns would cost more than they serve.
    turn_s: float = 0.05
    #: A worker that has not connected so long after it was asked for is ended, seconds: its start has failed.
    start_s: float = 60.0
    #: Failed starts in a row before waiting (and before those who wait are told), and the longest wait, seconds.
    failed_starts: int = 3
    failed_start_cap_s: float = 5.0
    #: Workers that die within `young_s` of their start, in a row, before starts slow down; and the longest wait, seconds.
    #: The wait is short: a fork costs milliseconds, so five a second are no storm, and what is poisoned should fail soon.
    early_deaths: int = 10
    early_death_cap_s: float = 0.2
    young_s: float = 1.0
