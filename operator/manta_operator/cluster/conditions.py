"""The conditions of a cluster: six questions, each with yes or no, a word and a sentence. Pure.

- `Available`: can it be used at all? The head serves; running work goes on even while workers are missing.
- `Ready`: is it as the spec wants it? For `kubectl wait --for=condition=Ready`, Helm and Argo CD.
- `UpToDate`: is every pod of the spec's revision?
- `Progressing`: is something on its way by itself?
- `Degraded`: is something wrong that somebody should look at?
- `Suspended`: is it off because it was asked to be?

kstatus, by which Flux, Argo CD and others judge any resource, knows `Ready` and compares `observedGeneration`: a spec that was
changed a moment ago is not called ready by them, as the status still speaks of the former one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manta_operator.api.cluster import UpgradeType
from manta_operator.api.pods import Condition, ConditionStatus
from manta_operator.builders.labels import Manifest
from manta_operator.cluster.causes import Cause, worst
from manta_operator.cluster.decided import Decided
from manta_operator.cluster.pods import Standing
from manta_operator.cluster.reading import parts, stamp, text

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
#: Faults that the message of `Degraded` has at most.
_MOST = 4
_LENGTH = 4096
#: Causes that pass by themselves.
_STARTING = frozenset({"Pending", "Starting", "NotReady", "Restarted"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


def answers(decided: Decided) -> list[Answer]:
    """All six, in the order in which they are shown."""
    return [
        _available(decided),
        _ready(decided),
        _up_to_date(decided),
        _progressing(decided),
        _degraded(decided),
        _suspended(decided),
    ]


def invalid(why: str) -> list[Answer]:
    """All six of a cluster whose spec cannot be read: its pods go on as they are."""
    words = "the spec cannot be read"
    return [
        Answer("Available", UNKNOWN, "InvalidSpec", words),
        Answer("Ready", FALSE, "InvalidSpec", words),
        Answer("UpToDate", FALSE, "InvalidSpec", words),
        Answer("Progressing", FALSE, "InvalidSpec", "nothing is done until the spec is corrected"),
        Answer("Degraded", TRUE, "InvalidSpec", why[:_LENGTH]),
        Answer("Suspended", UNKNOWN, "InvalidSpec", words),
    ]


def as_conditions(said: Iterable[Answer], before: Manifest, generation: int, now: float) -> tuple[Condition, ...]:
    """Answers as conditions: the time of one changes only when yes becomes no, or no yes.

    Args:
        said: The answers.
        before: The MantaCluster, with the conditions as they were.
        generation: Of its spec.
        now: Seconds since 1970.
    """
    were = {text(one, "type"): one for one in parts(before, "status", "conditions")}
    return tuple(
        Condition(
            type=one.type,
            status=one.status,
            reason=one.reason,
            message=one.message,
            last_transition_time=(
                text(were.get(one.type), "lastTransitionTime")
                if text(were.get(one.type), "status") == one.status.value
                else ""
            )
            or stamp(now),
            observed_generation=generation,
        )
        for one in said
    )


def _available(decided: Decided) -> Answer:
    head = decided.head
    if head.ready:
        return Answer("Available", TRUE, "HeadReady", "the head serves")
    if decided.cluster.spec.suspend:
        return Answer("Available", FALSE, "Suspended", "the cluster is suspended")
    return _because("Available", [*head.causes, *decided.causes], "HeadNotReady", "the head is not ready yet")


def _ready(decided: Decided) -> Answer:
    if decided.cluster.spec.suspend:
        return Answer("Ready", FALSE, "Suspended", "the cluster is suspended")
    faults = [cause for cause in decided.every_cause if cause.hinders]
    if not decided.head.ready:
        return _because("Ready", decided.every_cause, "HeadNotReady", "the head is not ready yet")
    late = [group for group in decided.groups if not group.done]
    if late:
        words = ", ".join(f"{group.name}: {group.ready} of {group.desired}" for group in late[:_MOST])
        return _because(
            "Ready",
            [*(cause for group in late for cause in group.causes if cause.hinders), *faults],
            "WorkersNotReady",
            f"ready workers: {words}",
        )
    if _outdated(decided) and decided.cluster.spec.upgrade_strategy.type is UpgradeType.RECREATE:
        return _because("Ready", faults, "Updating", "pods of an older spec are being replaced")
    if any(cause.hinders for cause in decided.causes):
        return _because("Ready", decided.causes, "NotReady", "something is wrong")
    return Answer("Ready", TRUE, "Ready", f"the head and {_workers(decided)} workers are ready")


def _up_to_date(decided: Decided) -> Answer:
    outdated = _outdated(decided)
    if not outdated:
        return Answer("UpToDate", TRUE, "UpToDate", "every pod is of the spec as it is")
    words = f"of an older spec: {', '.join(outdated[:_MOST])}" + (
        f" and {len(outdated) - _MOST} more" if len(outdated) > _MOST else ""
    )
    if decided.cluster.spec.upgrade_strategy.type is UpgradeType.ON_DELETE:
        return Answer("UpToDate", FALSE, "OnDelete", f"{words}; each is replaced when it is deleted")
    broken = [cause for cause in decided.every_cause if cause.reason == "InvalidTemplate"]
    return _because("UpToDate", broken, "Updating", words)


def _progressing(decided: Decided) -> Answer:
    if decided.cluster.spec.suspend:
        left = [pod.name for group in decided.groups for pod in group.pods if pod.standing is not Standing.FOREIGN]
        head = decided.head.pod
        if head is not None and head.standing is not Standing.FOREIGN:
            left.insert(0, head.name)
        if left:
            return Answer("Progressing", TRUE, "Suspending", f"pods that still go: {len(left)}")
        return Answer("Progressing", FALSE, "Suspended", "no pods are left")
    steps = _steps(decided)
    if steps:
        return Answer("Progressing", TRUE, steps[0][0], "; ".join(words for _, words in steps)[:_LENGTH])
    fault = worst(cause for cause in decided.every_cause if cause.hinders)
    if fault is not None:
        return Answer("Progressing", FALSE, fault.reason, "nothing happens by itself until what is wrong is put right")
    return Answer("Progressing", FALSE, "Complete", "nothing is left to do")


def _steps(decided: Decided) -> list[tuple[str, str]]:
    """What is on its way, as reasons and words."""
    steps = []
    head = decided.head
    if head.move.delete is not None or (head.pod is not None and head.pod.standing is Standing.GOING):
        steps.append(("ReplacingHead", "the head is being replaced"))
    leaving = sum(len(group.moves.leaving) for group in decided.groups)
    going = sum(group.going for group in decided.groups)
    coming = sum(len(group.moves.creates) for group in decided.groups if not group.retried)
    head_comes = head.move.create and not head.retried
    if leaving:
        steps.append(("Draining", f"workers that are to go: {leaving}"))
    if going:
        steps.append(("Terminating", f"workers that go: {going}"))
    if head_comes or coming:
        steps.append(("Creating", f"pods that are made: {coming + head_comes}"))
    starting = [cause for cause in decided.every_cause if not cause.fault and cause.reason in _STARTING]
    if starting:
        steps.append(("Starting", f"pods that start: {len(starting)}"))
    if decided.upkeep:
        steps.append(("Creating", "what pods need is being made"))
    return steps


def _degraded(decided: Decided) -> Answer:
    faults = [cause for cause in decided.every_cause if cause.fault]
    first = worst(faults)
    if first is None:
        return Answer("Degraded", FALSE, "AsExpected", "nothing is wrong")
    others = [cause.message for cause in sorted(faults, key=lambda one: one.message) if cause is not first]
    told = list(dict.fromkeys([first.message, *others]))
    words = "; ".join(told[:_MOST]) + (f"; and {len(told) - _MOST} more" if len(told) > _MOST else "")
    return Answer("Degraded", TRUE, first.reason, words[:_LENGTH])


def _suspended(decided: Decided) -> Answer:
    if not decided.cluster.spec.suspend:
        return Answer("Suspended", FALSE, "NotSuspended", "the cluster is wanted")
    return Answer("Suspended", TRUE, "Suspended", "spec.suspend is set: storage and credentials stay, pods do not")


def _because(type_: str, causes: Sequence[Cause], reason: str, message: str) -> Answer:
    """No, for the worst of some causes, if there is one that is a fault; else for a reason of its own."""
    fault = worst(cause for cause in causes if cause.hinders)
    if fault is None:
        return Answer(type_, FALSE, reason, message)
    return Answer(
        type_, FALSE, fault.reason, fault.message if fault.message == message else f"{message}: {fault.message}"
    )


def _outdated(decided: Decided) -> list[str]:
    """Names of pods that count and are of another revision."""
    names = [
        pod.name
        for group in decided.groups
        if group.revision
        for pod in group.present
        if pod.revision != group.revision
    ]
    if decided.head.outdated and decided.head.pod is not None:
        names.insert(0, decided.head.pod.name)
    return names


def _workers(decided: Decided) -> str:
    return str(sum(group.desired for group in decided.groups))
