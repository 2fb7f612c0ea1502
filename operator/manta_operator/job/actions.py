"""What a plan consists of. Each is safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manta_operator.api.job import JobStatus
from manta_operator.kube.events import Event


@dataclass(frozen=True, slots=True)
class Hold:
    """Put the finalizer on the object: from now on something outside of Kubernetes may have to be stopped."""


@dataclass(frozen=True, slots=True)
class Release:
    """Take the finalizer off it: nothing runs any more, or nobody is left who could stop it."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Have the head start a try.

    Attributes:
        body: What it is told.
    """

    body: dict[str, Any]

    @property
    def submission_id(self) -> str:
        """Which try."""
        return str(self.body["submission_id"])


@dataclass(frozen=True, slots=True)
class Stop:
    """Have the head stop a try."""

    submission_id: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object: its time is over."""


Action = Hold | Release | Submit | Stop | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done now. The status comes first: what an action is for is written down before it is done.

    Attributes:
        status: What to say; None if it is already said.
        actions: In order; the first that fails ends them.
        events: Told once the status is written, if there is one to write.
        again_at: When to look again even if nothing happens, in seconds since 1970; None for never.
    """

    status: JobStatus | None = None
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    again_at: float | None = None
