"""A pod as a plan sees it: whose it is, whether it counts, and what control knows of it.

A pod counts as a replica while it is `PRESENT`, ready or not. Unready is no reason to replace it: a restart of control makes
every worker unready for a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from manta_operator.builders.labels import HEAD, REVISION, Manifest
from manta_operator.cluster.reading import condition, controller, number, part, parts, seconds, text
from manta_operator.cluster.seen import ControlNode, Drain, Seen
from manta_operator.cluster.slots import place_of

#: Taken as said by the administrator: the machine is off, and what is on it may be taken away.
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
#: How long a Kubernetes node may say nothing (Unknown), or that it is not ready (False), before its workers count as lost.
#: Kubernetes itself says Unknown after 50 s of silence, and deletes pods after 300 s more.
SILENT_S = 30.0
UNREADY_S = 300.0
#: The same where control still hears the raylet: the node does not answer for its pods, which go on working. They are fenced
#: through control, so there is time to see whether it comes back.
ZOMBIE_S = 90.0
#: How old a pod must be before a node that is missing counts: its own list of nodes may be older than the pod.
MISSING_S = 60.0


class Standing(Enum):
    """Whether a pod counts."""

    #: It does, ready or not.
    PRESENT = "present"
    #: It is being deleted.
    GOING = "going"
    #: It has ended, and will not start again: Failed, Succeeded, evicted.
    OVER = "over"
    #: Its node is gone or does not answer.
    LOST = "lost"
    #: Somebody else made it, or a former cluster of this name.
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod.

    Attributes:
        raw: As the API server has it.
        name: Of it.
        uid: Who it is.
        version: Its resourceVersion.
        group: Its group; `head` for the head.
        slot: Its number; 0 for the head.
        revision: Of what it was made; empty if it does not say.
        standing: Whether it counts.
        ready: Whether Kubernetes says that it is, and it counts.
        host: Its Kubernetes node; empty if it has none yet.
        created: When, in seconds since 1970.
        lost_at: When it would count as lost if nothing changes; None if it would not.
        out_of_service: Whether its node never comes back.
        node: The raylet in it that control knows, the living one if there is one.
        drained: Whether control says of any raylet of this pod that it is drained: one that starts anew after that is not wanted.
    """

    raw: Manifest
    name: str
    uid: str
    version: str
    group: str
    slot: int
    revision: str
    standing: Standing
    ready: bool
    host: str
    created: float
    lost_at: float | None
    out_of_service: bool
    node: ControlNode | None
    drained: bool

    @property
    def alive(self) -> bool:
        """Whether control counts on a raylet in it."""
        return self.node is not None and self.node.alive and not self.drained

    @property
    def started(self) -> bool:
        """Whether any container of it has ever run."""
        return any(
            "running" in part(one, "state") or "terminated" in part(one, "state") or part(one, "lastState")
            for one in parts(self.raw, "status", "containerStatuses")
        )

    @property
    def grace_s(self) -> float:
        """How long it may take to end."""
        return float(number(self.raw, "spec", "terminationGracePeriodSeconds") or 30)


def pods_of(seen: Seen, now: float) -> list[Pod]:
    """Every pod that is this cluster's or has a name that could be, the head first, then by group and slot."""
    nodes: dict[str, list[ControlNode]] = {}
    for node in seen.control.nodes:
        nodes.setdefault(node.pod_uid, []).append(node)
    # If no node at all answers, it is not the nodes: the API server cannot hear them, and work goes on there.
    deaf = seen.nodes is not None and bool(seen.nodes) and all(not _answers(one) for one in seen.nodes.values())
    pods = []
    for raw in seen.pods:
        name = text(raw, "metadata", "name")
        place = (HEAD, 0) if name == f"{seen.key.name}-{HEAD}" else place_of(name, seen.key.name)
        if place is not None:
            pods.append(_pod(seen, raw, place, nodes.get(text(raw, "metadata", "uid"), []), deaf, now))
    return sorted(pods, key=lambda pod: (pod.group != HEAD, pod.group, pod.slot))


def _pod(seen: Seen, raw: Manifest, place: tuple[str, int], nodes: list[ControlNode], deaf: bool, now: float) -> Pod:
    alive = next((one for one in nodes if one.alive), None)
    host = text(raw, "spec", "nodeName")
    created = seconds(text(raw, "metadata", "creationTimestamp"))
    out, lost_at = _lost(seen.nodes, host, created, alive is not None, deaf)
    phase = text(raw, "status", "phase")
    if controller(raw).get("uid") != seen.uid:
        standing = Standing.FOREIGN
    elif text(raw, "metadata", "deletionTimestamp"):
        standing = Standing.GOING
    elif phase in ("Failed", "Succeeded"):
        standing = Standing.OVER
    elif lost_at is not None and now >= lost_at:
        standing = Standing.LOST
    else:
        standing = Standing.PRESENT
    return Pod(
        raw=raw,
        name=text(raw, "metadata", "name"),
        uid=text(raw, "metadata", "uid"),
        version=text(raw, "metadata", "resourceVersion"),
        group=place[0],
        slot=place[1],
        revision=text(raw, "metadata", "labels", REVISION),
        standing=standing,
        ready=standing is Standing.PRESENT and condition(raw, "Ready").get("status") == "True",
        host=host,
        created=created,
        lost_at=lost_at,
        out_of_service=out,
        node=alive or (nodes[-1] if nodes else None),
        drained=any(one.drain is Drain.DRAINED for one in nodes),
    )


def _lost(
    nodes: Mapping[str, Manifest] | None, host: str, created: float, alive: bool, deaf: bool
) -> tuple[bool, float | None]:
    """Whether a pod's node never comes back, and when the pod counts as lost if nothing changes."""
    if nodes is None or not host:
        return False, None
    node = nodes.get(host)
    if node is None:
        return False, None if alive else created + MISSING_S
    if any(one.get("key") == OUT_OF_SERVICE for one in parts(node, "spec", "taints")):
        return True, 0.0
    if deaf or _answers(node):
        return False, None
    ready = condition(node, "Ready")
    limit = UNREADY_S if ready.get("status") == "False" else ZOMBIE_S if alive else SILENT_S
    return False, seconds(text(ready, "lastTransitionTime")) + limit


def _answers(node: Manifest) -> bool:
    """Whether a node is ready, or has not said anything yet."""
    return bool(condition(node, "Ready").get("status", "True") == "True")
