"""Everything of a cluster that is no pod: what is created, applied, deleted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manta_operator.api import quantity
from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import children, claims, labels
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest
from manta_operator.cluster.actions import Apply, Create, Delete
from manta_operator.cluster.causes import Cause, taken
from manta_operator.cluster.differs import differs, stamped
from manta_operator.cluster.reading import controller, part, text
from manta_operator.cluster.refusals import Refusal, Why, standing_in_the_way
from manta_operator.cluster.seen import Seen, named
from manta_operator.credentials.decide import decide
from manta_operator.credentials.given import Wrong
from manta_operator.credentials.making import Makes
from manta_operator.kube.resources import CLAIMS, NETWORK_POLICIES, SECRETS, SERVICE_ACCOUNTS, SERVICES, Resource

#: How soon to look again for what a person has to bring: nothing tells us when it comes.
LOOK_S = 10.0

_KINDS: Mapping[str, Resource] = {
    one.kind: one for one in (SERVICES, NETWORK_POLICIES, SERVICE_ACCOUNTS, CLAIMS, SECRETS)
}
#: In conditions, for what the API server would not do.
_REASONS: Mapping[Why, str] = {
    Why.NAME_TAKEN: "NameTaken",
    Why.QUOTA: "QuotaExceeded",
    Why.INVALID: "InvalidTemplate",
    Why.FORBIDDEN: "Forbidden",
    Why.TEMPORARY: "ApiServer",
}


@dataclass(slots=True)
class Upkeep:
    """What is done about them.

    Attributes:
        creates: Secrets.
        applies: The rest, and Secrets that change.
        deletes: What the spec wants no more.
        causes: What is wrong.
        ready: Whether a pod finds all that it mounts.
        again_at: Times at which to look again.
    """

    creates: list[Create] = field(default_factory=list)
    applies: list[Apply] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    ready: bool = True
    again_at: list[float] = field(default_factory=list)


def upkeep(seen: Seen, cluster: MantaCluster, now: float, build: Build, makes: Makes) -> Upkeep:
    """What is done about a cluster's children but its pods."""
    todo = Upkeep()
    _secrets(todo, seen, cluster, now, build, makes)
    _claim(todo, seen, cluster, now)
    wanted = children.applied(cluster, build)
    there = {
        SERVICE_ACCOUNTS.kind: seen.accounts,
        SERVICES.kind: seen.services,
        NETWORK_POLICIES.kind: seen.policies,
    }
    for manifest in wanted:
        _apply(todo, seen, _KINDS[manifest["kind"]], manifest, there[manifest["kind"]], now)
    names = {(one["kind"], one["metadata"]["name"]) for one in wanted}
    for kind, objects in there.items():
        for one in objects:
            if (kind, text(one, "metadata", "name")) not in names and controller(one).get("uid") == seen.uid:
                _drop(todo, _KINDS[kind], one)
    return todo


def belongs(there: Manifest, wanted: Manifest) -> bool:
    """Whether an object that has the name of one that is wanted is this cluster's.

    It is if the same MantaCluster is in charge of it. What nobody is in charge of is ours if its labels say that the operator
    made it for a cluster of this name: a claim that outlived its cluster.
    """
    owner = controller(there).get("uid")
    if owner is not None:
        return bool(owner == controller(wanted).get("uid"))
    said, meant = part(there, "metadata", "labels"), part(wanted, "metadata", "labels")
    return all(said.get(name) == meant.get(name) for name in (labels.MANAGED_BY, labels.CLUSTER))


def refused(refusal: Refusal) -> Cause:
    """What stands in the way, for people."""
    what = f"{refusal.name} ({refusal.plural})"
    words = (
        f"{what} is somebody else's, and left alone: delete it, or call the cluster otherwise"
        if refusal.why is Why.NAME_TAKEN
        else f"{what} was refused: {refusal.message}"
    )
    return Cause(
        reason=_REASONS[refusal.why],
        message=words,
        fault=refusal.why is not Why.TEMPORARY,
        until=refusal.again_at,
    )


def _secrets(todo: Upkeep, seen: Seen, cluster: MantaCluster, now: float, build: Build, makes: Makes) -> None:
    decision = decide(cluster, seen.secrets, now, makes, build)
    for manifest in decision.creates:
        if _allowed(todo, seen, SECRETS, manifest, now):
            todo.creates.append(Create(resource=SECRETS, manifest=manifest))
    for update in decision.updates:
        if _allowed(todo, seen, SECRETS, update.manifest, now):
            todo.applies.append(
                Apply(resource=SECRETS, manifest=update.manifest, uid=update.uid, version=update.version)
            )
    for problem in decision.problems:
        todo.causes.append(
            Cause(reason=problem.wrong.value, message=str(problem), ahead=problem.wrong is Wrong.EXPIRING)
        )
        todo.again_at.append(now + LOOK_S)
    if decision.again_at is not None:
        todo.again_at.append(decision.again_at)
    todo.ready = decision.ready


def _claim(todo: Upkeep, seen: Seen, cluster: MantaCluster, now: float) -> None:
    name = claims.claim_name(cluster)
    if name is None:
        return
    wanted, there = claims.claim(cluster), named(seen.claims, name)
    if wanted is None:
        if there is None:
            says = f"there is no PersistentVolumeClaim {name}, which spec.head.storage.existingClaim names: make it"
            todo.causes.append(Cause(reason="MissingClaim", message=says))
            todo.again_at.append(now + LOOK_S)
            todo.ready = False
        return
    if there is not None and belongs(there, wanted):
        if text(there, "metadata", "deletionTimestamp"):
            # A pod that mounts it would never start; a new claim can have the name when it is gone.
            says = f"the claim {name} is being deleted; a new one is made when it is gone"
            todo.causes.append(Cause(reason="ClaimTerminating", message=says))
            todo.ready = False
            return
        wanted = _grown(wanted, there)
    _apply(todo, seen, CLAIMS, wanted, seen.claims, now)
    todo.ready = todo.ready and (there is None or belongs(there, wanted))


def _grown(wanted: Manifest, there: Manifest) -> Manifest:
    """A claim that is never smaller than it is: somebody may have let it grow by hand, and it cannot shrink."""
    sizes = [text(one, "spec", "resources", "requests", "storage") for one in (wanted, there)]
    try:
        smaller = quantity.amount(sizes[0]) < quantity.amount(sizes[1])
    except ValueError:
        smaller = False
    if not smaller:
        return wanted
    spec = wanted["spec"]
    requests = {**spec["resources"]["requests"], "storage": sizes[1]}
    return {**wanted, "spec": {**spec, "resources": {**spec["resources"], "requests": requests}}}


def _apply(
    todo: Upkeep, seen: Seen, resource: Resource, manifest: Manifest, objects: Iterable[Manifest], now: float
) -> None:
    wanted, there = stamped(manifest), named(objects, manifest["metadata"]["name"])
    if there is None:
        if _allowed(todo, seen, resource, wanted, now):
            todo.applies.append(Apply(resource=resource, manifest=wanted))
        return
    if not belongs(there, wanted):
        todo.causes.append(taken(f"{wanted['metadata']['name']} ({resource.plural})", there, seen.key.name))
        return
    if text(there, "metadata", "deletionTimestamp") or not differs(there, wanted):
        return
    if _allowed(todo, seen, resource, wanted, now):
        todo.applies.append(Apply(resource=resource, manifest=wanted, uid=text(there, "metadata", "uid")))


def _allowed(todo: Upkeep, seen: Seen, resource: Resource, manifest: Manifest, now: float) -> bool:
    """Whether something that is to be written may be tried; what stood in its way last time is said in any case."""
    name = manifest["metadata"]["name"]
    todo.causes += [refused(one) for one in seen.refusals if (one.plural, one.name) == (resource.plural, name)]
    held = standing_in_the_way(seen.refusals, resource.plural, name, seen.generation, now)
    if held is not None:
        todo.again_at.append(held.again_at)
    return held is None


def _drop(todo: Upkeep, resource: Resource, one: Manifest) -> None:
    metadata = one["metadata"]
    if not metadata.get("deletionTimestamp"):
        todo.deletes.append(
            Delete(
                resource=resource,
                name=metadata["name"],
                uid=metadata["uid"],
                version=metadata.get("resourceVersion", ""),
                why="the spec does not want it any more",
                live=True,
            )
        )
