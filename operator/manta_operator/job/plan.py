"""One pure decision: what is to be done about a MantaJob, given everything that is known of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from manta.aio.backoff import Backoff
from manta_operator.api.job import JobPhase, JobStatus
from manta_operator.job import leaving, status, times
from manta_operator.job.actions import Action, Delete, Hold, Plan, Release, Stop, Submit
from manta_operator.job.seen import Seen
from manta_operator.job.status import Said
from manta_operator.job.submission import body, submission_id
from manta_operator.job.tries import SUSPENDING, How, Tries, count, over, suspending

#: Between a failure and the next try; as Kubernetes' own Jobs have it.
BACKOFF: Final = Backoff(first_s=10.0, factor=2.0, cap_s=360.0, jitter=0.0)


def plan(seen: Seen, now: float) -> Plan:
    """What is to be done now.

    Args:
        seen: Everything.
        now: Seconds since 1970.

    Returns:
        The same for the same; empty, but for `again_at`, when everything is as it should be and nothing is under way.
    """
    if seen.job.metadata.deletion_timestamp is not None:
        return leaving.plan(seen, now)
    if over(seen.status):
        return _rest(seen, now)
    tries = count(seen)
    decision = _open(seen, tries, now) if tries.open else _closed(seen, tries, now)
    if decision[0].reason in _UNHEARD and now < seen.head.patience_until:
        return Plan(again_at=min(seen.head.patience_until, decision[2] or seen.head.patience_until))
    return _said(seen, decision, now)


#: What is said of a head only when it has not been heard for a while: connections end and are made again.
_UNHEARD: Final = frozenset({"HeadUnreachable", "ClusterNotReady"})

#: What to say, and what goes with it.
_Decision = tuple[Said, tuple[Action, ...], float | None]


def _rest(seen: Seen, now: float) -> Plan:
    """It has ended: its end is never looked at again, and the object goes when its time is over."""
    actions: tuple[Action, ...] = (Release(),) if seen.held else ()
    ended, ttl = times.read(seen.status.completion_time), seen.job.spec.ttl_seconds_after_finished
    if ended is None or ttl is None:
        return Plan(actions=actions)
    if now >= ended + ttl:
        return Plan(actions=(*actions, Delete()))
    return Plan(actions=actions, again_at=ended + ttl)


def _open(seen: Seen, tries: Tries, now: float) -> _Decision:
    """A try is under way, as far as is known."""
    found, spec = tries.on_head, seen.job.spec
    began = times.read(seen.status.start_time) or (min(found.began_at, now) if found and found.began_at else None)
    phase = JobPhase.RUNNING if found is not None and found.began_at else JobPhase.PENDING
    if found is None and seen.status.phase is JobPhase.RUNNING:
        phase = JobPhase.RUNNING
    said = Said(phase, tries, started_at=began)
    stop: tuple[Action, ...] = ()
    if found is not None and seen.head.synced and not found.stopping:
        stop = (Stop(found.submission_id),)
    end = _deadline(seen, began)
    if end is not None and now >= end:
        said = replace(said, reason="DeadlineExceeded", message=_deadline_says(seen, "it is being stopped"), waits=True)
        return said, stop, None
    if spec.suspend or suspending(seen.status):
        # Once it was said there is no way back: the word to stop may be on its way. It ends, and another try begins.
        said = replace(said, suspended=SUSPENDING, reason=SUSPENDING, message="it is being stopped", waits=True)
        return said, stop, None
    reason, message = _where(seen, tries)
    return replace(said, reason=reason, message=message, waits=phase is JobPhase.PENDING), (), end


def _where(seen: Seen, tries: Tries) -> tuple[str, str]:
    """Where an open try stands."""
    cluster = seen.cluster
    if cluster is not None and cluster.suspended:
        return "ClusterSuspended", "the cluster was suspended; what became of the job is known when it is back"
    if not seen.head.synced or tries.on_head is None:
        return "HeadUnreachable", "the cluster's head cannot be reached; what became of the job is known when it can"
    if tries.on_head.began_at:
        return "Running", ""
    return "Starting", tries.on_head.message


def _closed(seen: Seen, tries: Tries, now: float) -> _Decision:
    """Nothing of it is under way."""
    spec, before = seen.job.spec, seen.status
    handed_to = before.handed_to if tries.ended is How.NOT_YET else None
    said = Said(JobPhase.PENDING, tries, started_at=times.read(before.start_time), waits=True, handed_to=handed_to)
    if tries.ended is not How.NOT_YET and tries.last is not None and tries.last.began_at and said.started_at is None:
        said = replace(said, started_at=min(tries.last.began_at, now))
    if tries.ended is How.SUCCEEDED:
        return replace(said, phase=JobPhase.SUCCEEDED, reason="Succeeded", waits=False), (), None
    why = _failure(seen, tries)
    if tries.ended is How.ENVIRONMENT:
        return _failed(said, "InvalidRuntimeEnv", why)
    if tries.ended is How.INTERRUPTED:
        said = replace(said, started_at=None)
    end = _deadline(seen, said.started_at)
    if end is not None and now >= end:
        return _failed(said, "DeadlineExceeded", _deadline_says(seen, "it was stopped"))
    if tries.ended is How.STOPPED:
        return _failed(said, "Stopped", "somebody stopped it on its cluster")
    if tries.failed > spec.backoff_limit:
        return _failed(said, "BackoffLimitExceeded", f"it failed {_times(tries.failed)}; the last time: {why}")
    if spec.suspend:
        said = replace(said, phase=JobPhase.SUSPENDED, started_at=None, suspended="Suspended", reason="Suspended",
                       message="it waits until suspend is false", waits=False)  # fmt: skip
        return said, (), None
    return _next(seen, said, tries, why, now, end)


def _next(seen: Seen, said: Said, tries: Tries, why: str, now: float, end: float | None) -> _Decision:
    """Another try, when it may begin."""
    not_before = times.read(seen.status.next_attempt_time)
    if tries.failed and tries.ended not in (How.NOT_YET, How.INTERRUPTED):
        not_before = now + BACKOFF.delay_s(tries.failed - 1, 0.0)
    if not_before is not None and now < not_before:
        message = f"it failed {_times(tries.failed)}; the last time: {why}"
        said = replace(said, reason="BackOff", message=message, next_at=not_before)
        return said, (), min(not_before, end) if end else not_before
    wanted = submission_id(seen.job.metadata.uid, tries.started + 1)
    refusal = seen.refusal if seen.refusal and seen.refusal.submission_id == wanted else None
    if refusal is not None and refusal.final:
        reason = "InvalidRuntimeEnv" if refusal.code == "INVALID_RUNTIME_ENV" else "InvalidJob"
        return _failed(said, reason, refusal.message)
    blocked = _blocked(seen)
    if blocked is not None:
        reason, message = blocked
        return replace(said, reason=reason, message=message), (), end
    if refusal is not None and now < refusal.again_at:
        said = replace(said, reason="HeadRefuses", message=refusal.message)
        return said, (), min(refusal.again_at, end) if end else refusal.again_at
    actions: tuple[Action, ...] = (Submit(body(seen.job, tries.started + 1)),)
    if not seen.held:
        actions = (Hold(), *actions)
    # Written down before it is said: whether a try that a head does not know was never handed to it, or was forgotten.
    said = replace(said, handed_to=seen.head.memory)
    return replace(said, reason="Submitting", message="it is being handed to the cluster's head"), actions, end


def _blocked(seen: Seen) -> tuple[str, str] | None:
    """Why nothing can be submitted."""
    name, cluster = seen.job.spec.cluster_ref.name, seen.cluster
    if cluster is None:
        return "ClusterNotFound", f"there is no MantaCluster {name!r} in this namespace"
    if cluster.going:
        return "ClusterDeleting", f"the MantaCluster {name!r} is being deleted"
    if cluster.suspended:
        return "ClusterSuspended", f"the MantaCluster {name!r} is suspended"
    if not seen.head.synced:
        why = f": {cluster.reason}: {cluster.message}" if cluster.reason else ""
        return "ClusterNotReady", f"the head of the MantaCluster {name!r} cannot be reached yet{why}"
    return None


def _failure(seen: Seen, tries: Tries) -> str:
    """Why the last try failed."""
    match tries.ended:
        case How.FORGOTTEN:
            return "the cluster's head has no record of it any more: its memory was lost, and the driver with it"
        case How.CLUSTER_GONE:
            return f"the MantaCluster {seen.job.spec.cluster_ref.name!r} was deleted while it ran"
    if tries.last is not None and tries.last.message:
        return tries.last.message
    return (seen.status.message or "").partition("the last time: ")[2] or seen.status.message or "nobody knows why"


def _failed(said: Said, reason: str, message: str) -> _Decision:
    return replace(said, phase=JobPhase.FAILED, reason=reason, message=message, waits=False, handed_to=None), (), None


def _deadline(seen: Seen, began: float | None) -> float | None:
    limit = seen.job.spec.active_deadline_seconds
    return None if limit is None or began is None else began + limit


def _deadline_says(seen: Seen, what: str) -> str:
    return f"it was active for more than {seen.job.spec.active_deadline_seconds} s (activeDeadlineSeconds); {what}"


def _ordered(said: JobStatus) -> JobStatus:
    """With conditions in an order: the API server keeps them in one of its own."""
    return replace(said, conditions=tuple(sorted(said.conditions, key=lambda one: one.type)))


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _said(seen: Seen, decision: _Decision, now: float) -> Plan:
    said, actions, again_at = decision
    written = status.written(seen, said, now)
    changed = _ordered(written) != _ordered(seen.status)
    events = (event,) if changed and (event := status.event(seen, said)) else ()
    return Plan(status=written if changed else None, actions=actions, events=events, again_at=again_at)
