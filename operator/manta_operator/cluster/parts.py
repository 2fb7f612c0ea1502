"""The head, and each group of the spec, as far as making their pods goes: of what, and what keeps them from being made.

A changed template is tried before it costs anything: while pods of an older revision do their work, a new one is shown to the API
server (a dry run), and they go only if it would be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from manta_operator.api.cluster import MantaCluster, UpgradeType
from manta_operator.api.head import Head
from manta_operator.api.workers import WorkerGroup
from manta_operator.builders.build import Build
from manta_operator.builders.labels import HEAD, Manifest
from manta_operator.builders.overlay import InvalidTemplateError
from manta_operator.builders.pods import WorkerPods, head_pod
from manta_operator.builders.revision import revision
from manta_operator.cluster.actions import Check
from manta_operator.cluster.causes import Cause
from manta_operator.cluster.children import refused
from manta_operator.cluster.pods import Pod, Standing
from manta_operator.cluster.refusals import Refusal, Why
from manta_operator.cluster.seen import Seen
from manta_operator.cluster.slots import free_slots, place_of
from manta_operator.kube.resources import PODS


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The head, or a group.

    Attributes:
        name: The group's, or `head`.
        replicas: How many pods the spec wants.
        revision: Of the spec.
        make: Its pod for a slot.
        pods: All that have its names, whoever made them.
        check: A pod to be tried before any of an older revision goes.
        replace: Whether those of an older revision go.
        causes: What is wrong with its template.
        refusals: Of its pods.
        hold: Whether none is made at present.
        taken: Slots that are taken by objects that are not seen.
        again_at: When to try again what was refused.
    """

    name: str
    replicas: int
    revision: str
    make: Callable[[int], Manifest]
    pods: Sequence[Pod]
    check: Check | None
    replace: bool
    causes: Sequence[Cause]
    refusals: Sequence[Refusal]
    hold: bool
    taken: frozenset[int]
    again_at: Sequence[float]

    @property
    def outdated(self) -> bool:
        """Whether any of its pods that count is of another revision."""
        return any(pod.standing is Standing.PRESENT and pod.revision != self.revision for pod in self.pods)

    def said(self, *, missing: bool) -> list[Cause]:
        """What keeps its pods from being made.

        Args:
            missing: Whether any are wanted that are not there; what was refused once and is not wanted any more is no trouble.
        """
        return [*self.causes, *(refused(one) for one in self.refusals if missing)]


def head_part(seen: Seen, cluster: MantaCluster, pods: Sequence[Pod], now: float, build: Build) -> Part:
    """The head."""
    return _part(seen, cluster, cluster.spec.head, pods, now, lambda _: head_pod(cluster, build))


def group_part(
    seen: Seen, cluster: MantaCluster, group: WorkerGroup, pods: Sequence[Pod], now: float, build: Build
) -> Part:
    """A group of the spec."""
    return _part(seen, cluster, group, pods, now, WorkerPods(cluster, group, build))


def _part(
    seen: Seen,
    cluster: MantaCluster,
    spec: Head | WorkerGroup,
    pods: Sequence[Pod],
    now: float,
    make: Callable[[int], Manifest],
) -> Part:
    name, replicas = (spec.name, spec.replicas) if isinstance(spec, WorkerGroup) else (HEAD, 1)
    wanted = revision(cluster, spec)
    pods = [pod for pod in pods if pod.group == name]
    refusals = [one for one in seen.refusals if one.plural == PODS.plural and one.group == name]
    recreate = cluster.spec.upgrade_strategy.type is UpgradeType.RECREATE
    present = [pod for pod in pods if pod.standing is Standing.PRESENT]
    outdated = any(pod.revision != wanted for pod in present)
    broken, check = "", None
    if outdated or len(present) < replicas:
        [free] = free_slots({pod.slot for pod in pods}, 1)
        try:
            sample = make(free)
        except InvalidTemplateError as error:
            broken = str(error)
        else:
            if outdated and recreate:
                broken = seen.checked.get(wanted, "")
                check = None if wanted in seen.checked else Check(revision=wanted, manifest=sample)
    held = [one for one in refusals if one.holds(seen.generation, now)]
    slots = {one.name: place_of(one.name, cluster.metadata.name) for one in held if one.why is Why.NAME_TAKEN}
    return Part(
        name=name,
        replicas=replicas,
        revision=wanted,
        make=make,
        pods=pods,
        check=check,
        replace=recreate and not broken and check is None,
        causes=[Cause(reason="InvalidTemplate", message=f"{name}: {broken}")] if broken else [],
        refusals=refusals,
        # A slot that is somebody else's is passed over; everything else would be refused under any name.
        hold=bool(broken) or any(slots.get(one.name) is None for one in held),
        taken=frozenset(place[1] for place in slots.values() if place is not None),
        again_at=[one.again_at for one in held],
    )
