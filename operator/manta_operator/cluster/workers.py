"""Which workers of a group come and which go. Pure.

How one goes: control is told to drain its node, and deletes follow what control says. Until then the pod stays and counts, so
that there are never more than are wanted, whatever becomes of the operator between two steps: how far a drain is, and until when
it may take, is control's to know.

A node that is drained cannot be made to work again, so a pod whose node is drained is one that goes, whoever wanted that and why.
This also makes the choice of who goes stable: it is read from control, and not made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from manta_operator.cluster.actions import Delete, DrainNode
from manta_operator.cluster.causes import Cause
from manta_operator.cluster.pods import Pod, Standing
from manta_operator.cluster.reading import condition, seconds, text
from manta_operator.cluster.seen import Control, Drain
from manta_operator.cluster.slots import free_slots
from manta_operator.kube.resources import PODS

#: How old a pod that has ended must be before another takes its place: one that ends at once is made anew that often, not more.
BRAKE_S = 10.0
#: How often control is asked how far a drain is.
POLL_S = 2.0
#: How often it is asked again for a drain that it refused: nobody else would do the work, for now.
REFUSED_S = 10.0
#: After a drain's deadline: control declares the node dead by itself, and we hear of it.
MARGIN_S = 5.0
#: How long control may be silent before a worker goes without its word. It then drains by itself, in the pod's own grace.
SILENT_S = 60.0
#: How long Kubernetes may call a worker ready that control does not know, before it goes as one that does nothing.
UNKNOWN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a group should be.

    Attributes:
        desired: How many workers; 0 for a group that the spec does not have any more.
        revision: Of the spec; empty for a group that it does not have.
        replace: Whether workers of another revision are replaced now.
        suspended: Whether all go, and at once: there is no cluster that would take their work.
        hold: Whether none is made at present.
        taken: Slots that are taken by objects that are not seen.
    """

    desired: int
    revision: str
    replace: bool = False
    suspended: bool = False
    hold: bool = False
    taken: frozenset[int] = frozenset()


@dataclass(slots=True)
class Moves:
    """What is done about pods.

    Attributes:
        creates: Slots of new workers.
        deletes: Pods that go now.
        drains: Nodes that are to be drained first.
        missing: How many workers are wanted and not there, whether or not they are made now.
        leaving: UIDs of present pods that are to go.
        causes: What keeps them from going.
        again_at: Times at which to look again.
    """

    creates: list[int] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    drains: list[DrainNode] = field(default_factory=list)
    missing: int = 0
    leaving: set[str] = field(default_factory=set)
    causes: list[Cause] = field(default_factory=list)
    again_at: list[float] = field(default_factory=list)


def move(pods: Sequence[Pod], wish: Wish, control: Control, now: float) -> Moves:
    """What is done about a group.

    Args:
        pods: All that have its names, whoever made them.
        wish: What it should be.
        control: What control says.
        now: Seconds since 1970.
    """
    moves = Moves()
    held = 0
    for pod in pods:
        match pod.standing:
            case Standing.OVER:
                held += _clear(moves, pod, wish, now)
            case Standing.LOST:
                _lose(moves, pod, wish, control, now)
            case Standing.GOING:
                _fence(moves, pod, control)
    present = [pod for pod in pods if pod.standing is Standing.PRESENT]
    moves.again_at += [pod.lost_at for pod in present if pod.lost_at is not None]
    if wish.suspended:
        moves.deletes += [delete(pod, "suspended") for pod in present]
        moves.leaving |= {pod.uid for pod in present}
        return moves
    for pod, why in _leaving(present, wish):
        moves.leaving.add(pod.uid)
        _leave(moves, pod, control, why, now, live=True)
    moves.missing = max(0, wish.desired - len(present) - held)
    if not wish.hold:
        moves.creates = free_slots({pod.slot for pod in pods} | wish.taken, moves.missing)
    return moves


def delete(pod: Pod, why: str, *, live: bool = True, grace_s: int | None = None) -> Delete:
    """The end of one pod."""
    return Delete(resource=PODS, name=pod.name, uid=pod.uid, version=pod.version, why=why, live=live, grace_s=grace_s)


def _leaving(present: Iterable[Pod], wish: Wish) -> list[tuple[Pod, str]]:
    """Who goes of those that count, and why."""
    leaving, staying = [], []
    for pod in present:
        if pod.drained or (pod.alive and pod.node is not None and pod.node.drain is Drain.DRAINING):
            leaving.append((pod, "drained"))
        elif wish.replace and pod.revision != wish.revision:
            leaving.append((pod, "its spec has changed"))
        else:
            staying.append(pod)
    # Those that go anyway are among those that are too many.
    extra = max(0, len(staying) - wish.desired)
    return [*leaving, *((pod, "scale down") for pod in sorted(staying, key=lambda pod: _worth(pod, wish))[:extra])]


def _worth(pod: Pod, wish: Wish) -> tuple[bool, bool, bool, bool, int]:
    """What is lost with a worker, least first: one without a node, one that is not ready, one with nothing to do, an old one."""
    idle = pod.node is not None and pod.node.idle is True
    return bool(pod.host), pod.ready, not idle, pod.revision == wish.revision, -pod.slot


def _leave(moves: Moves, pod: Pod, control: Control, why: str, now: float, *, live: bool) -> None:
    """Have one pod go: drained, or when there is nothing to drain, or when that has taken too long."""
    node, until = pod.node, now
    if pod.drained or not pod.started:
        pass
    elif control.silent:
        until = control.silent_since + SILENT_S + pod.grace_s
    elif node is None or not node.alive:
        # Ready means that it has registered: control has not heard of it yet, or not again.
        if pod.ready:
            until = seconds(text(condition(pod.raw, "Ready"), "lastTransitionTime")) + UNKNOWN_S
    elif node.drain is Drain.DRAINING:
        until = node.deadline + MARGIN_S
    else:
        moves.drains.append(DrainNode(node=node.id, pod=pod.name, grace_s=pod.grace_s, why=why, live=live))
        words = control.refused.get(node.id)
        if words is not None:
            says = f"{pod.name} is to go ({why}), and control will not drain it: {words}"
            moves.causes.append(Cause(reason="DrainRefused", message=says))
        moves.again_at.append(now + (POLL_S if words is None else REFUSED_S))
        return
    if now >= until:
        moves.deletes.append(delete(pod, why, live=live))
    else:
        moves.again_at.append(min(until, now + POLL_S))


def _clear(moves: Moves, pod: Pod, wish: Wish, now: float) -> bool:
    """Take away a pod that has ended. Returns whether its place stays taken for a moment."""
    if now < pod.created + BRAKE_S and not wish.suspended:
        moves.again_at.append(pod.created + BRAKE_S)
        return True
    moves.deletes.append(delete(pod, text(pod.raw, "status", "reason") or "it has ended", live=False))
    return False


def _lose(moves: Moves, pod: Pod, wish: Wish, control: Control, now: float) -> None:
    """Take away a pod whose node does not answer; if control still hears its raylet, control ends it, as no kubelet will."""
    if pod.alive and not control.silent and not wish.suspended:
        _leave(moves, pod, control, "its Kubernetes node does not answer", now, live=False)
    else:
        moves.deletes.append(delete(pod, "its Kubernetes node does not answer", live=False))


def _fence(moves: Moves, pod: Pod, control: Control) -> None:
    """A pod that is being deleted on a node that does not answer: nobody tells it. Control does."""
    node = pod.node
    if pod.lost_at is None or node is None or not pod.alive or node.drain is not Drain.NONE:
        return
    if not control.silent:
        why = "its pod is deleted, and its Kubernetes node does not answer"
        moves.drains.append(DrainNode(node=node.id, pod=pod.name, grace_s=pod.grace_s, why=why))
