"""What is done about the head's pod. Pure.

There is at most one: its name is always the same, so a new one can only be made when the old one is gone, however many operators
try. A head on a node that does not answer is left to Kubernetes: it may still work, and its volume may still be written. It goes
when the node comes back, is deleted, or is tainted out-of-service, which is an administrator's word that the machine is off.
"""

from __future__ import annotations

from dataclasses import dataclass

from manta_operator.cluster.actions import Delete
from manta_operator.cluster.pods import Pod, Standing
from manta_operator.cluster.workers import BRAKE_S, delete


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadWish:
    """What the head should be.

    Attributes:
        revision: Of the spec.
        replace: Whether one of another revision is replaced now.
        suspended: Whether there should be none.
        hold: Whether none is made at present.
    """

    revision: str
    replace: bool = False
    suspended: bool = False
    hold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMove:
    """What is done.

    Attributes:
        create: Whether one is made.
        delete: The end of the one that is there.
        missing: Whether one is wanted and there is none, whether or not it is made now.
        again_at: When to look again.
    """

    create: bool = False
    delete: Delete | None = None
    missing: bool = False
    again_at: float | None = None


def move_head(pod: Pod | None, wish: HeadWish, now: float) -> HeadMove:
    """What is done about the head.

    Args:
        pod: Whatever has its name; None if nothing has.
        wish: What it should be.
        now: Seconds since 1970.
    """
    if pod is None:
        return HeadMove(create=not wish.suspended and not wish.hold, missing=not wish.suspended)
    match pod.standing:
        case Standing.FOREIGN:
            return HeadMove()
        case Standing.GOING:
            # Nobody will say that it has ended.
            gone = delete(pod, "its node is out of service", live=False, grace_s=0) if pod.out_of_service else None
            return HeadMove(delete=gone)
        case Standing.LOST:
            if pod.out_of_service:
                return HeadMove(delete=delete(pod, "its node is out of service", live=False, grace_s=0))
            return HeadMove(delete=delete(pod, "suspended") if wish.suspended else None)
        case Standing.OVER:
            if now < pod.created + BRAKE_S and not wish.suspended:
                return HeadMove(again_at=pod.created + BRAKE_S)
            return HeadMove(delete=delete(pod, "it has ended", live=False))
    if wish.suspended:
        return HeadMove(delete=delete(pod, "suspended"))
    if wish.replace and pod.revision != wish.revision:
        return HeadMove(delete=delete(pod, "its spec has changed"))
    return HeadMove(again_at=pod.lost_at)
