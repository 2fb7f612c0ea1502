"""How long pods take to be scheduled, to run and to be ready, as this instance saw it. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Stage(IntEnum):
    """How far a pod is."""

    CREATED = 0
    SCHEDULED = 1
    RUNNING = 2
    READY = 3


def stage_of(pod: dict[str, Any]) -> Stage:
    """How far a pod is."""
    status = pod.get("status") or {}
    true = {one.get("type") for one in status.get("conditions") or [] if one.get("status") == "True"}
    if "Ready" in true:
        return Stage.READY
    if status.get("phase") == "Running":
        return Stage.RUNNING
    return Stage.SCHEDULED if "PodScheduled" in true else Stage.CREATED


class PodTimes:
    """Pods on their way. Of one that was first seen on its way already, as after a restart, nothing is said: nobody knows."""

    def __init__(self) -> None:
        #: By UID: how far a pod is, and since when.
        self._pods: dict[str, tuple[Stage, float]] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def saw(self, before: dict[str, Any] | None, after: dict[str, Any] | None, now: float) -> list[tuple[str, float]]:
        """A pod changed. Returns the stages that it has reached with that, and how many seconds each took.

        Args:
            before: What it was; None for new.
            after: What it is; None for gone.
            now: Seconds.
        """
        if after is None:
            if before is not None:
                self._pods.pop(before["metadata"]["uid"], None)
            return []
        uid, stage = after["metadata"]["uid"], stage_of(after)
        if before is None:
            if stage is Stage.CREATED:
                self._pods[uid] = (stage, now)
            return []
        known = self._pods.get(uid)
        if known is None or stage <= known[0]:
            return []
        # What came in one step took no time that anybody saw: the first of the stages has it all.
        reached = [(Stage(one).name.lower(), 0.0) for one in range(known[0] + 1, stage + 1)]
        reached[0] = (reached[0][0], now - known[1])
        if stage is Stage.READY:
            del self._pods[uid]
        else:
            self._pods[uid] = (stage, now)
        return reached
