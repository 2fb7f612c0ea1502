"""What is said of a MantaJob, in its status and by events. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from manta_operator.api.job import JobPhase, JobStatus
from manta_operator.api.parse import InvalidObjectError
from manta_operator.api.pods import Condition, ConditionStatus
from manta_operator.job import times
from manta_operator.job.seen import Seen
from manta_operator.job.submission import submission_id
from manta_operator.job.tries import Tries
from manta_operator.kube.events import NORMAL, WARNING, Event

#: As in the resource's definition.
_MOST_MESSAGE: Final = 4096
_MOST_LOG: Final = 8192

#: Phases after which nothing happens any more.
_ENDS: Final = (JobPhase.SUCCEEDED, JobPhase.FAILED)
#: Which of these events are warnings.
_WARNINGS: Final = frozenset({"BackOff", "HeadRefuses", "ClusterNotFound"})


@dataclass(frozen=True, slots=True)
class Said:
    """What a plan has to say.

    Attributes:
        phase: Where the job stands.
        tries: The count.
        reason: Why, in one word.
        message: The same, for people.
        started_at: Since when it is active.
        next_at: Before when it is not tried again.
        handed_to: The memory to which the next try is, or was, being handed, if nobody knows yet whether it was taken.
        suspended: Reason of the condition Suspended; empty if it is not, and is not to be.
        waits: Something is waited for: it does not run yet, or has yet to end.
    """

    phase: JobPhase
    tries: Tries
    reason: str = ""
    message: str = ""
    started_at: float | None = None
    next_at: float | None = None
    handed_to: str | None = None
    suspended: str = ""
    waits: bool = False


def written(seen: Seen, said: Said, now: float) -> JobStatus:
    """The whole status. Equal to the one before if nothing has changed: times stay what they were."""
    before, tries = seen.status, said.tries
    last = tries.last
    ended = said.phase in _ENDS
    ended_at = min(last.ended_at, now) if last is not None and last.ended_at is not None else now
    message = said.message or (last.message if last is not None and ended else "")
    return JobStatus(
        observed_generation=seen.job.metadata.generation,
        conditions=_conditions(seen, said, message, now),
        phase=said.phase,
        submission_id=submission_id(seen.job.metadata.uid, tries.started) if tries.started else None,
        attempts=tries.started,
        failed=tries.failed,
        interrupted=tries.interrupted,
        handed_to=said.handed_to,
        next_attempt_time=None if said.next_at is None else times.written(-(-said.next_at // 1)),
        start_time=None if said.started_at is None else before.start_time or times.written(said.started_at),
        completion_time=times.written(ended_at) if ended else None,
        # Of the last try that ended: what it left is there to be read while the next one runs.
        exit_code=last.exit_code if last is not None else before.exit_code,
        message=message[:_MOST_MESSAGE] or None,
        log_tail=(last.log_tail[-_MOST_LOG:] or None) if last is not None else before.log_tail,
    )


def invalid(before: JobStatus, generation: int, error: InvalidObjectError, now: float) -> JobStatus:
    """The status of an object that is no MantaJob: written when definitions were others, or none."""
    said = {"Stalled": (ConditionStatus.TRUE, "InvalidSpec", str(error)[:_MOST_MESSAGE])}
    conditions = _stamped(before, said, generation, now)
    return JobStatus(
        observed_generation=generation,
        conditions=conditions,
        phase=before.phase or JobPhase.PENDING,
        submission_id=before.submission_id,
        attempts=before.attempts,
        failed=before.failed,
        interrupted=before.interrupted,
        message=str(error)[:_MOST_MESSAGE],
    )


def event(seen: Seen, said: Said) -> Event | None:
    """What people are told, when the job has got somewhere else."""
    if seen.status.phase is said.phase and seen.status.failed == said.tries.failed:
        return None
    warning = said.phase is JobPhase.FAILED or said.reason in _WARNINGS
    return Event(said.reason, said.message[:1024] or said.phase.value, WARNING if warning else NORMAL)


_Condition = tuple[ConditionStatus, str, str]


def _conditions(seen: Seen, said: Said, message: str, now: float) -> tuple[Condition, ...]:
    true, false = ConditionStatus.TRUE, ConditionStatus.FALSE
    active = said.reason or said.phase.value
    message = message[:_MOST_MESSAGE]
    wanted: dict[str, _Condition] = {
        "Complete": (true, said.reason, message) if said.phase is JobPhase.SUCCEEDED else (false, active, ""),
        "Failed": (true, said.reason, message) if said.phase is JobPhase.FAILED else (false, active, ""),
        "Suspended": (false, "NotSuspended", ""),
    }
    if said.suspended:
        wanted["Suspended"] = (true if said.phase is JobPhase.SUSPENDED else false, said.suspended, message)
    # These two are only there when they are true.
    if said.waits:
        wanted["Reconciling"] = (true, active, message)
    if said.phase is JobPhase.FAILED:
        wanted["Stalled"] = (true, said.reason, message)
    return _stamped(seen.status, wanted, seen.job.metadata.generation, now)


def _stamped(before: JobStatus, wanted: dict[str, _Condition], generation: int, now: float) -> tuple[Condition, ...]:
    """With the time since when each is as it is."""
    since = {one.type: (one.status, one.last_transition_time) for one in before.conditions}
    stamped = []
    for kind, (status, reason, message) in wanted.items():
        was = since.get(kind)
        at = was[1] if was is not None and was[0] is status else times.written(now)
        stamped.append(
            Condition(
                type=kind,
                status=status,
                reason=reason,
                message=message,
                last_transition_time=at,
                observed_generation=generation,
            )
        )
    return tuple(stamped)
