"""A submitted job as its head tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: How much of a text from a head is kept.
_MOST_TEXT = 8192


class HeadState(StrEnum):
    """How far a submitted job is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def over(self) -> bool:
        """Whether it stays as it is."""
        return self in (HeadState.STOPPED, HeadState.SUCCEEDED, HeadState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadJob:
    """One submission. Times are seconds since 1970, by the head's clock.

    Attributes:
        submission_id: Its id.
        state: How far it is.
        stopping: Somebody has asked it to stop.
        message: Why, for people.
        error: What kind of failure, in the jobs API's words; empty without one.
        began_at: When its entrypoint began; None if it did not.
        ended_at: When it ended.
        exit_code: Its driver's; negative for a signal; None if it had none.
        log_tail: The end of its output, once it is over.
    """

    submission_id: str
    state: HeadState
    stopping: bool = False
    message: str = ""
    error: str = ""
    began_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    log_tail: str = ""


def read(raw: Mapping[str, Any]) -> HeadJob:
    """A job out of an event.

    Raises:
        ValueError: It is none: this head is of a version that we do not know.
    """
    submission_id, code = raw.get("submission_id"), raw.get("exit_code")
    if not isinstance(submission_id, str) or not (code is None or isinstance(code, int)):
        raise ValueError("a job has a submission_id, and perhaps an exit_code")
    return HeadJob(
        submission_id=submission_id,
        state=HeadState(str(raw.get("status"))),
        stopping=bool(raw.get("stopping")),
        message=_text(raw.get("message")),
        error=_text(raw.get("error_type")),
        began_at=_seconds(raw.get("began_unix_ms")),
        ended_at=_seconds(raw.get("ended_unix_ms")),
        exit_code=code,
        log_tail=_text(raw.get("log_tail")),
    )


def _text(value: object) -> str:
    return value[-_MOST_TEXT:] if isinstance(value, str) else ""


def _seconds(value: object) -> float | None:
    return value / 1000 if isinstance(value, int | float) and not isinstance(value, bool) else None
