"""What a plan consists of. Each is safe to repeat, and means the same if somebody else did it meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manta_operator.builders.labels import Manifest
from manta_operator.kube.events import Event
from manta_operator.kube.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Create an object unless its name is taken; then look whose it is, and leave it as it is.

    Attributes:
        resource: Its kind.
        manifest: All of it.
        group: Of a pod: its group, `head` for the head's; a quota that stops one of a group stops the rest.
    """

    resource: Resource
    manifest: Manifest
    group: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Have an object's fields be what is said, server-side.

    Attributes:
        resource: Its kind.
        manifest: The fields that this operator is for.
        uid: Which object is meant; empty for one that is not seen. Then the shell reads its name first, as an apply would take
            over whatever is there: an object that is not this cluster's (`children.belongs`) is a refusal, NAME_TAKEN.
        version: The resourceVersion it must still have; empty if any will do. For what is computed from what was there.
    """

    resource: Resource
    manifest: Manifest
    uid: str = ""
    version: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete exactly the object that was seen.

    Attributes:
        resource: Its kind.
        name: Its name.
        uid: Who it is.
        version: The resourceVersion in which it was seen.
        why: For the log: `scale down`, `Evicted`.
        live: Read the MantaCluster from the API server first, and do it only if it still has the UID and the generation that
            were seen: a stale view must not shrink a cluster to an old spec.
        grace_s: Seconds that a pod has to end; None for its own; 0 takes it away at once, for nodes that never come back.
    """

    resource: Resource
    name: str
    uid: str
    version: str
    why: str
    live: bool = False
    grace_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainNode:
    """Ask control to take a node out of service. Asked again as long as control does not say that it does.

    Attributes:
        node: Control's id, in hex.
        pod: The pod's name, for messages.
        grace_s: How long what runs there may take.
        why: Control tells its users: `scale down`.
        live: As for `Delete`.
    """

    node: str
    pod: str
    grace_s: float
    why: str
    live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Ask the API server whether it would take such a pod (a strict dry run). The answer belongs into `Seen.checked`.

    Attributes:
        revision: What the answer is about.
        manifest: A pod. That its name is taken or a quota is used up says nothing against its template: the answer is empty then.
    """

    revision: str
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUpdate:
    """Apply the status, with the cluster's UID. Only there when it differs from what is there.

    Attributes:
        status: All of it.
    """

    status: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done now. At rest everything is empty.

    Children are independent: what fails does not keep the rest from being tried. Order counts in one place only: `creates` and
    `applies` of other kinds are tried before pods, which want an account and Secrets to be there.

    Attributes:
        creates: What exists once: keys and tokens, the claim, pods. Pods come last, the head first among them.
        applies: What follows the spec.
        deletes: Pods, and what a changed spec needs no more.
        drains: Nodes of pods that are to go.
        checks: Pods to try.
        status: None if it is already said.
        events: Told once the status is written.
        again_at: When to look again even if nothing happens, in seconds since 1970; None for never.
    """

    creates: tuple[Create, ...] = ()
    applies: tuple[Apply, ...] = ()
    deletes: tuple[Delete, ...] = ()
    drains: tuple[DrainNode, ...] = ()
    checks: tuple[Check, ...] = ()
    status: StatusUpdate | None = None
    events: tuple[Event, ...] = ()
    again_at: float | None = None

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to write, and nobody to tell."""
        return not (
            self.creates or self.applies or self.deletes or self.drains or self.checks or self.status or self.events
        )
