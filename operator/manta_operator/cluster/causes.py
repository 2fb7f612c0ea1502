"""Why a pod does not do its work, in one word and in a sentence. Pure, and nothing is remembered: what is no longer seen is no
longer said.

Kubelets say the same thing in turns of different words (ErrImagePull and ImagePullBackOff, Error, Running and CrashLoopBackOff).
Here it is one cause with one text, or the status would change, and be written, for as long as the trouble lasts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manta_operator.builders.labels import HEAD, Manifest
from manta_operator.cluster.pods import Pod, Standing
from manta_operator.cluster.reading import condition, is_former, number, part, parts, seconds, text
from manta_operator.cluster.seen import Drain

#: How long after a crash a container that runs again, and is not ready, is still said to be unready because of it.
CRASH_S = 600.0
#: How long after processes were ended for want of memory that is still said, though all is ready again.
MEMORY_S = 3600.0
#: How long a pod may start, or be unready, before that is a fault.
PATIENCE_S = 300.0
#: What was said of something within so long of what was said last is still so: kubelets try again every two minutes at least.
TOGETHER_S = 300.0
#: Longest text that a cause has, in characters.
_LENGTH = 700

#: Faults, the one that explains most first. Others come after these, by name.
_ORDER = (
    "InvalidSpec",
    "NameTaken",
    "MissingSecret",
    "InvalidSecret",
    "InvalidTemplate",
    "Forbidden",
    "QuotaExceeded",
    "MissingConfigMap",
    "MissingClaim",
    "NoStorageClass",
    "NodeLost",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "OOMKilled",
    "CrashLoopBackOff",
    "Evicted",
    "Unschedulable",
)

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"})
#: Of Events about pods whose volumes or network do not come; nothing else says so.
_MOUNT = frozenset({"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"})
#: In such an Event, what is not there.
_MISSING = re.compile(r'\b(secret|configmap) "[^"]*" not found', re.IGNORECASE)
#: What a kubelet says beside why, of all volumes of the pod, the others in any order.
_WAITS, _OTHERS = "Unable to attach or mount volumes", ", unattached volumes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why something is not as it should be.

    Attributes:
        reason: In one word, as conditions have it.
        message: For people.
        fault: Whether somebody should look: it is no step on the way.
        ahead: Whether it is still to come: somebody should look, and until then the cluster is as it should be.
        until: When it has to be looked at again, as time alone changes it; None for never.
    """

    reason: str
    message: str
    fault: bool = True
    ahead: bool = False
    until: float | None = None

    def __post_init__(self) -> None:
        if len(self.message) > _LENGTH:
            object.__setattr__(self, "message", self.message[: _LENGTH - 3] + "...")

    @property
    def hinders(self) -> bool:
        """Whether because of it something is not as it should be now."""
        return self.fault and not self.ahead


def worst(causes: Iterable[Cause]) -> Cause | None:
    """The one that explains most, faults first; None for none."""
    return min(causes, key=_rank, default=None)


def _rank(cause: Cause) -> tuple[bool, int, str, str]:
    known = _ORDER.index(cause.reason) if cause.reason in _ORDER else len(_ORDER)
    return not cause.fault, known, cause.reason, cause.message


def cause_of(pod: Pod, warnings: Iterable[Manifest], claim: Manifest | None, now: float) -> Cause | None:
    """Why a pod is not ready; None if it is.

    Args:
        pod: Which.
        warnings: Events of type Warning about pods and claims; those about others are passed over.
        claim: That the pod mounts, if it mounts one.
        now: Seconds since 1970.
    """
    match pod.standing:
        case Standing.FOREIGN:
            return _foreign(pod)
        case Standing.GOING:
            return _going(pod)
        case Standing.OVER:
            return _over(pod)
        case Standing.LOST:
            return Cause(reason="NodeLost", message=f"{pod.name}: its node {pod.host} does not answer")
    if pod.ready:
        return None
    if not pod.host:
        return _unscheduled(pod, warnings, claim)
    found = [cause for one in _containers(pod) if (cause := _container(pod, one, now)) is not None]
    return worst(found) or _starting(pod, warnings, now)


def memory_cause(pod: Pod, now: float) -> Cause | None:
    """What ended in a pod for want of memory lately, ready as it may be again.

    Where the kernel ends one process of a container (cgroup v1) Kubernetes never hears of it: only the raylet counts it. Where it
    ends the whole container (v2) the raylet's own counter is gone, and the container's last state says it.
    """
    found = []
    for one in _containers(pod):
        ended = part(one, "lastState", "terminated") or part(one, "state", "terminated")
        at = seconds(text(ended, "finishedAt"))
        if text(ended, "reason") == "OOMKilled" and now < at + MEMORY_S:
            found.append(Cause(reason="OOMKilled", message=_ended(pod, one, ended), fault=False, until=at + MEMORY_S))
    node = pod.node
    if node is not None and node.oom_kills and now < node.oom_at + MEMORY_S:
        words = f"{pod.name}: {node.oom_kills} of its processes were ended as its memory was full"
        found.append(Cause(reason="OOMKilled", message=words, fault=False, until=node.oom_at + MEMORY_S))
    return found[0] if found else None


def last_failure(pod: Pod) -> str | None:
    """How a pod, or a container of it, ended last; None if none did."""
    if pod.standing is Standing.OVER:
        return _over(pod).message
    ends = [
        (seconds(text(ended, "finishedAt")), _ended(pod, one, ended))
        for one in _containers(pod)
        for ended in (part(one, "state", "terminated"), part(one, "lastState", "terminated"))
        if ended
    ]
    return max(ends)[1][:_LENGTH] if ends else None


def restarts(pod: Pod) -> int:
    """How often containers of a pod were restarted."""
    return sum(number(one, "restartCount") for one in parts(pod.raw, "status", "containerStatuses"))


def _containers(pod: Pod) -> list[Mapping[str, Any]]:
    return [*parts(pod.raw, "status", "initContainerStatuses"), *parts(pod.raw, "status", "containerStatuses")]


def taken(what: str, there: Manifest, cluster: str) -> Cause:
    """A name that is needed is another object's.

    Args:
        what: The object, for people.
        there: It.
        cluster: Whose name it is.
    """
    if is_former(there, cluster):
        words = f"{what} is of a former cluster of this name; a new one is made when it is gone"
        return Cause(reason="Terminating", message=words, fault=False)
    words = f"{what} is somebody else's, and left alone: delete it, or call the cluster otherwise"
    return Cause(reason="NameTaken", message=words)


def _foreign(pod: Pod) -> Cause:
    name = pod.name.removesuffix(f"-{pod.group}" if pod.group == HEAD else f"-{pod.group}-{pod.slot}")
    return taken(f"the pod {pod.name}", pod.raw, name)


def _going(pod: Pod) -> Cause:
    if pod.lost_at is not None:
        return Cause(
            reason="NodeLost",
            message=f"{pod.name} is being deleted, but its node {pod.host} does not answer: it is gone when the node is back, is "
            "deleted, or is tainted node.kubernetes.io/out-of-service",
        )
    return Cause(reason="Terminating", message=f"{pod.name} is being deleted", fault=False)


def _over(pod: Pod) -> Cause:
    reason = text(pod.raw, "status", "reason") or (
        "PodSucceeded" if text(pod.raw, "status", "phase") == "Succeeded" else "PodFailed"
    )
    said = text(pod.raw, "status", "message")
    if not said:
        ends = [(one, part(one, "state", "terminated")) for one in _containers(pod)]
        said = "; ".join(_how(one, ended) for one, ended in ends if ended and number(ended, "exitCode"))
    return Cause(reason=_word(reason), message=f"{pod.name} has ended: {said or reason}")


def _unscheduled(pod: Pod, warnings: Iterable[Manifest], claim: Manifest | None) -> Cause:
    scheduled = condition(pod.raw, "PodScheduled")
    said = str(scheduled.get("message") or "")
    if scheduled.get("reason") != "Unschedulable":
        # The scheduler's own trouble, such as a volume that it cannot ask for.
        event = _event(warnings, pod.raw, ("FailedScheduling",)) if scheduled.get("status") == "False" else ""
        if event and scheduled.get("reason") != "SchedulingGated":
            return Cause(reason="Unschedulable", message=f"{pod.name}: {event}")
        return Cause(reason="Pending", message=f"{pod.name} waits for a node", fault=False)
    if claim is not None and text(claim, "status", "phase") == "Pending" and "PersistentVolumeClaim" in said:
        return _unbound(pod, warnings, claim)
    return Cause(reason="Unschedulable", message=f"{pod.name}: {said}")


def _unbound(pod: Pod, warnings: Iterable[Manifest], claim: Manifest) -> Cause:
    name, kind = text(claim, "metadata", "name"), text(claim, "spec", "storageClassName")
    event = _event(warnings, claim, ("ProvisioningFailed", "FailedBinding"))
    if not kind:
        why = "there is no default StorageClass: set spec.head.storage.storageClassName, or type emptyDir"
    else:
        why = f"its StorageClass {kind} gives it no volume"
    return Cause(
        reason="NoStorageClass",
        message=f"{pod.name} waits for the claim {name}: {why}" + (f" ({event})" if event else ""),
    )


def _container(pod: Pod, one: Mapping[str, Any], now: float) -> Cause | None:
    """Why one container does not do its work; None if it does, or merely starts."""
    if one.get("ready") is True:
        return None
    waiting, running = part(one, "state", "waiting"), part(one, "state", "running")
    ended = part(one, "state", "terminated") or part(one, "lastState", "terminated")
    reason, said = text(waiting, "reason"), text(waiting, "message")
    if reason in _PULL:
        # "Back-off pulling image X: ErrImagePull: why" and "why" in turns.
        why = said.partition("ErrImagePull: ")[2] or ("" if said.startswith("Back-off") else said)
        return Cause(
            reason="ImagePullBackOff",
            message=f"{pod.name}: the image {text(one, 'image')} of {text(one, 'name')} cannot be pulled"
            + (f": {why}" if why else ""),
        )
    if ended and (number(ended, "exitCode") or number(one, "restartCount")):
        began = seconds(text(running, "startedAt"))
        if not running or now < began + CRASH_S:
            memory = text(ended, "reason") == "OOMKilled"
            often = number(one, "restartCount") > 1 or reason == "CrashLoopBackOff"
            return Cause(
                reason="OOMKilled" if memory else "CrashLoopBackOff" if often else "Restarted",
                message=_ended(pod, one, ended),
                fault=memory or often,
                until=began + CRASH_S if running else None,
            )
        return None
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return Cause(reason=_word(reason), message=f"{pod.name}: {text(one, 'name')}: {said or reason}")
    return None


def _starting(pod: Pod, warnings: Iterable[Manifest], now: float) -> Cause:
    """Nothing is wrong with any container, but not all are ready."""
    event = _event(warnings, pod.raw, _MOUNT)
    if event and not pod.started:
        missing = _MISSING.search(event)
        kinds = {"secret": "MissingSecret", "configmap": "MissingConfigMap"}
        reason = kinds[missing[1].lower()] if missing else "VolumeOrNetwork"
        return Cause(reason=reason, message=f"{pod.name}: {event}")
    since = seconds(text(condition(pod.raw, "Ready"), "lastTransitionTime")) or pod.created
    late = now >= since + PATIENCE_S
    if pod.node is not None and pod.node.drain is Drain.DRAINING:
        return Cause(reason="Draining", message=f"{pod.name} is drained", fault=False)
    unready = ", ".join(text(one, "name") for one in _containers(pod) if one.get("ready") is not True)
    until = None if late else since + PATIENCE_S
    if not pod.started:
        words = f"{pod.name} is starting" + (f" for long: see `kubectl describe pod {pod.name}`" if late else "")
        return Cause(reason="Starting", message=words, fault=late, until=until)
    words = f"{pod.name}: {unready or 'it'} is not ready"
    return Cause(
        reason="NotReady",
        message=words + (f" for long: see `kubectl logs {pod.name} --all-containers`" if late else ""),
        fault=late,
        until=until,
    )


def _event(warnings: Iterable[Manifest], about: Manifest, reasons: Iterable[str]) -> str:
    """What events about an object say for one of some reasons; empty if there are none.

    Of several all that were said lately, in an order of their own: what is tried in turns fails in turns, and is one trouble.
    """
    uid = text(about, "metadata", "uid")
    found: dict[str, float] = {}
    for one in warnings:
        if uid and text(one, "regarding", "uid") == uid and text(one, "reason") in reasons:
            words = text(one, "note")
            words = words.partition(_OTHERS)[0] if words.startswith(_WAITS) else words
            found[words] = max(seconds(text(one, "at")), found.get(words, 0.0))
    last = max(found.values(), default=0.0)
    lately = sorted(words for words, at in found.items() if at >= last - TOGETHER_S)
    return "; ".join([words for words in lately if not words.startswith(_WAITS)] or lately)


def _ended(pod: Pod, one: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    return f"{pod.name}: {_how(one, ended)}"


def _how(one: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    """How a container ended: with which code, why, and with its last words."""
    reason, words = text(ended, "reason"), " ".join(text(ended, "message").split())
    why = "its memory was full (OOMKilled)" if reason == "OOMKilled" else reason
    code, signal = number(ended, "exitCode"), number(ended, "signal")
    by = f"signal {signal}" if signal else f"exit code {code}"
    return f"{text(one, 'name')} ended with {by}" + (f", {why}" if why else "") + (f": {words[-400:]}" if words else "")


def _word(reason: str) -> str:
    """A reason that conditions may have: letters, digits and some others; anything else becomes nothing."""
    word = re.sub(r"[^A-Za-z0-9_,:]", "", reason).strip("_,:0123456789")
    return word[:64] or "Unknown"
