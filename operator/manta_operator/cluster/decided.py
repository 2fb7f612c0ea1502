"""What a plan found out and decided, for the status: the same facts, so that it never says something else than was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from manta_operator.api.cluster import MantaCluster
from manta_operator.cluster.causes import Cause
from manta_operator.cluster.head import HeadMove
from manta_operator.cluster.pods import Pod, Standing
from manta_operator.cluster.workers import Moves


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDecided:
    """About one group.

    Attributes:
        name: Which.
        desired: How many workers are wanted.
        revision: Of the spec; empty for a group that it has no more.
        pods: Of its names.
        moves: What is done.
        causes: What is wrong, with its pods or with making more.
        retried: Whether what is made now was refused before: it is tried, and no step forward until it goes well.
    """

    name: str
    desired: int
    revision: str
    pods: Sequence[Pod]
    moves: Moves
    causes: Sequence[Cause] = ()
    retried: bool = False

    @property
    def present(self) -> list[Pod]:
        """Those that count."""
        return [pod for pod in self.pods if pod.standing is Standing.PRESENT]

    @property
    def ready(self) -> int:
        """How many do their work, those that are to go included."""
        return sum(pod.ready for pod in self.present)

    @property
    def updated(self) -> int:
        """How many have the spec's revision."""
        return sum(pod.revision == self.revision for pod in self.present)

    @property
    def going(self) -> int:
        """How many are going: those being deleted, or that nobody hears of any more."""
        return sum(pod.standing not in (Standing.PRESENT, Standing.FOREIGN) for pod in self.pods)

    @property
    def done(self) -> bool:
        """Whether there are as many as are wanted, and all are ready, and none is to go."""
        return not self.moves.leaving and len(self.present) == self.ready == self.desired


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadDecided:
    """About the head.

    Attributes:
        revision: Of the spec.
        pod: What has its name.
        move: What is done.
        causes: What is wrong.
        retried: As of a group.
    """

    revision: str
    pod: Pod | None
    move: HeadMove
    causes: Sequence[Cause] = ()
    retried: bool = False

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self.pod is not None and self.pod.ready

    @property
    def outdated(self) -> bool:
        """Whether it is there, and not of the spec's revision."""
        pod = self.pod
        return pod is not None and pod.standing is Standing.PRESENT and pod.revision != self.revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """About a cluster.

    Attributes:
        cluster: Its spec.
        head: The head.
        groups: Those of the spec, in its order, then those that it has no more and that still have pods.
        causes: What is wrong with anything else.
        upkeep: Whether anything else is being made or changed, and was not refused before.
    """

    cluster: MantaCluster
    head: HeadDecided
    groups: Sequence[GroupDecided] = field(default_factory=tuple)
    causes: Sequence[Cause] = ()
    upkeep: bool = False

    @property
    def every_cause(self) -> list[Cause]:
        """All that is wrong, with anything."""
        return [*self.causes, *self.head.causes, *(cause for group in self.groups for cause in group.causes)]
