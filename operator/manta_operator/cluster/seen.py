"""Everything that is known about one MantaCluster at one moment: what `plan` decides from, and nothing else.

It must contain what this instance has itself written: an object whose creation was answered is in here even if the watch has not
brought it yet, and one whose deletion was answered is going. Otherwise a slow watch makes a plan that was right a moment ago.

All times are seconds since 1970, as the API server's are. They are compared with those of other machines, and never with less
than ten seconds to spare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.parse import InvalidObjectError
from manta_operator.builders.labels import Manifest
from manta_operator.cluster.refusals import Refusal
from manta_operator.kube.resources import Key


class Drain(Enum):
    """How far control has taken a node out of service."""

    NONE = "none"
    #: It takes nothing new; what it holds ends or goes.
    DRAINING = "draining"
    #: It holds nothing any more, and is gone.
    DRAINED = "drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlNode:
    """A raylet as control knows it. A raylet that starts anew in its pod is a new node, so a pod may have several.

    Attributes:
        id: Control's, in hex.
        pod_uid: Its label `manta.compute/pod-uid`; empty for a node that is no pod of ours.
        alive: Whether control counts on it.
        drain: How far it is drained.
        deadline: Until when its drain may take; 0 without one.
        idle: Whether it has no task, no actor, no owner and no driver; None if control did not say.
        resources: What it has, by name, such as CPU; as it was registered.
        oom_kills: How many of its processes ended because memory was full, as far as it counts them.
        oom_at: When the last of them did; 0 for never.
    """

    id: str
    pod_uid: str = ""
    alive: bool = True
    drain: Drain = Drain.NONE
    deadline: float = 0.0
    idle: bool | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    oom_kills: int = 0
    oom_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What control says, or why it says nothing.

    Attributes:
        nodes: Its nodes, dead ones included as long as it remembers them; empty if it could not be asked.
        silent: Why it could not be asked; empty if it could.
        silent_since: Since when it could not, as far as this instance knows.
        refused: Nodes that it would not drain when it was asked last, by id, and why: no other could do the work.
    """

    nodes: tuple[ControlNode, ...] = ()
    silent: str = ""
    silent_since: float = 0.0
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One cluster, read at one moment. Objects are shared with whoever else reads them, and never changed.

    Attributes:
        raw: The MantaCluster as the API server has it, its status included.
        cluster: The same, parsed, or what is wrong with it.
        pods: Of this cluster by owner or by label, whoever made them; going ones included.
        secrets: The operator's own, and those of the user that the spec names.
        services: Of this cluster by owner or by label; so are the following.
        claims: And the one that the spec names.
        policies: NetworkPolicies.
        accounts: ServiceAccounts.
        nodes: The Kubernetes nodes on which `pods` are, by name; None if nodes are not watched (the operator may only look
            into some namespaces). A name that is missing is a node that does not exist.
        warnings: Events of type Warning about `pods` and `claims`, as `warned` keeps them.
        control: What control says.
        refusals: What the API server has refused, and nothing has shown since that it would not any more.
        checked: Of revisions that were tried by a dry run: the server's words, empty if it would take such a pod.
    """

    raw: Manifest
    cluster: MantaCluster | InvalidObjectError
    pods: tuple[Manifest, ...] = ()
    secrets: tuple[Manifest, ...] = ()
    services: tuple[Manifest, ...] = ()
    claims: tuple[Manifest, ...] = ()
    policies: tuple[Manifest, ...] = ()
    accounts: tuple[Manifest, ...] = ()
    nodes: Mapping[str, Manifest] | None = None
    warnings: tuple[Manifest, ...] = ()
    control: Control = field(default_factory=Control)
    refusals: tuple[Refusal, ...] = ()
    checked: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Which cluster."""
        metadata = self.raw["metadata"]
        return Key(metadata.get("namespace", ""), metadata["name"])

    @property
    def uid(self) -> str:
        """Who it is: the next cluster of this name is another."""
        return str(self.raw["metadata"].get("uid", ""))

    @property
    def generation(self) -> int:
        """Of its spec."""
        return int(self.raw["metadata"].get("generation", 0))


def named(objects: Iterable[Manifest], name: str) -> Manifest | None:
    """The object of a name."""
    return next((one for one in objects if one["metadata"]["name"] == name), None)
