"""How many tries there were, and what became of them: the status and the head's word in, the new count out. Pure.

A try is *open* from the moment at which a head is known to have it until its end is counted. Its end is counted once: the
count and the end are written in one status.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from manta_operator.api.job import JobPhase, JobStatus
from manta_operator.heads.jobs import HeadJob, HeadState
from manta_operator.job import times
from manta_operator.job.seen import Seen
from manta_operator.job.submission import submission_id

#: What the head calls a failure to make the environment: the next try would fail in the same way.
ENVIRONMENT_FAILED = "RUNTIME_ENV_SETUP_FAILURE"
#: Reason of the condition Suspended from when the try is to be stopped until it is; see `plan`.
SUSPENDING = "Suspending"


class How(Enum):
    """How the last try ended."""

    NOT_YET = "not yet"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: Its environment cannot be made: no other try is of use.
    ENVIRONMENT = "environment"
    #: Somebody stopped it, neither a suspension nor a deadline of ours.
    STOPPED = "stopped"
    #: A suspension stopped it.
    INTERRUPTED = "interrupted"
    #: Its head has no record of it any more: its memory is gone, and with it the driver.
    FORGOTTEN = "forgotten"
    #: Its cluster was deleted.
    CLUSTER_GONE = "cluster gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """The count.

    Attributes:
        started: How many there were.
        failed: How many of them failed; also those that nobody knows the end of.
        interrupted: How many of them a suspension stopped.
        open: The last one is under way.
        on_head: What the head says of the open one; None if it is not heard, or says nothing.
        ended: How the last one ended, if this look has found it.
        last: What the head said of the one that ended.
    """

    started: int = 0
    failed: int = 0
    interrupted: int = 0
    open: bool = False
    on_head: HeadJob | None = None
    ended: How = How.NOT_YET
    last: HeadJob | None = None


def count(seen: Seen) -> Tries:
    """What was counted before, and what the head's word adds to it."""
    status, uid = seen.status, seen.job.metadata.uid
    open_before = status.attempts > status.failed + status.interrupted and status.phase is not JobPhase.SUCCEEDED
    tries = Tries(started=status.attempts, failed=status.failed, interrupted=status.interrupted, open=open_before)
    if not tries.open and (adopted := seen.head.jobs.get(submission_id(uid, tries.started + 1))):
        # Submitted, and never written down: the answer or its sequel was lost.
        tries = replace(tries, started=tries.started + 1, open=True, on_head=adopted)
    elif tries.open:
        tries = replace(tries, on_head=seen.head.jobs.get(submission_id(uid, tries.started)))
    if not tries.open:
        if seen.head.synced and status.handed_to not in (None, seen.head.memory):
            # It was being handed to a head that has forgotten everything since: it may have run there.
            return _closed(replace(tries, started=tries.started + 1), How.FORGOTTEN)
        return tries
    return _closed(tries, _end(seen, tries))


def _end(seen: Seen, tries: Tries) -> How:
    found = tries.on_head
    if found is None:
        if seen.cluster is None:
            return How.CLUSTER_GONE
        return How.FORGOTTEN if seen.head.synced else How.NOT_YET
    match found.state:
        case HeadState.SUCCEEDED:
            return How.SUCCEEDED
        case HeadState.FAILED:
            return How.ENVIRONMENT if found.error == ENVIRONMENT_FAILED else How.FAILED
        case HeadState.STOPPED:
            return How.INTERRUPTED if seen.job.spec.suspend or suspending(seen.status) else How.STOPPED
    # A job that runs on a cluster that does not exist has nobody who could tell of its end.
    return How.CLUSTER_GONE if seen.cluster is None else How.NOT_YET


def _closed(tries: Tries, how: How) -> Tries:
    match how:
        case How.NOT_YET:
            return tries
        case How.INTERRUPTED:
            return replace(
                tries, interrupted=tries.interrupted + 1, open=False, ended=how, last=tries.on_head, on_head=None
            )
        case How.SUCCEEDED:
            return replace(tries, open=False, ended=how, last=tries.on_head, on_head=None)
    return replace(tries, failed=tries.failed + 1, open=False, ended=how, last=tries.on_head, on_head=None)


def suspending(status: JobStatus) -> bool:
    """Whether the try is to be stopped, or was, for a suspension: written down before anybody is told to stop it."""
    return any(one.type == "Suspended" and one.reason == SUSPENDING for one in status.conditions)


def over(status: JobStatus) -> bool:
    """Whether the job has ended: nothing of it is ever started again."""
    return status.phase in (JobPhase.SUCCEEDED, JobPhase.FAILED) and times.read(status.completion_time) is not None
