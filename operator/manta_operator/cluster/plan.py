"""One pure decision: what is to be done about a cluster, given everything that is known of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.parse import InvalidObjectError
from manta_operator.builders import claims
from manta_operator.builders.build import Build
from manta_operator.builders.labels import HEAD, Manifest
from manta_operator.cluster.actions import Apply, Create, Plan, StatusUpdate
from manta_operator.cluster.causes import Cause, cause_of, memory_cause
from manta_operator.cluster.children import Upkeep, upkeep
from manta_operator.cluster.decided import Decided, GroupDecided, HeadDecided
from manta_operator.cluster.head import HeadMove, HeadWish, move_head
from manta_operator.cluster.parts import Part, group_part, head_part
from manta_operator.cluster.pods import Pod, Standing, pods_of
from manta_operator.cluster.reading import text
from manta_operator.cluster.refusals import Why
from manta_operator.cluster.seen import Seen, named
from manta_operator.cluster.status import invalid_status, is_said, status_of
from manta_operator.cluster.telling import events
from manta_operator.cluster.workers import Moves, Wish, move
from manta_operator.credentials.making import Makes
from manta_operator.kube.resources import PODS


def plan(seen: Seen, now: float, build: Build, makes: Makes) -> Plan:
    """What is to be done now.

    Args:
        seen: Everything.
        now: Seconds since 1970.
        build: The operator's surroundings.
        makes: Randomness for keys and tokens.

    Returns:
        The same for the same, but for keys and tokens; empty, but for `again_at`, when everything is as it should be and nothing
        is under way.
    """
    if text(seen.raw, "metadata", "deletionTimestamp"):
        return Plan()  # what belongs to it goes with it, by its owner references
    cluster = seen.cluster
    if isinstance(cluster, InvalidObjectError):
        return _said(Plan(), seen, invalid_status(seen, str(cluster), now))
    todo = upkeep(seen, cluster, now, build, makes)
    pods = pods_of(seen, now)
    head = head_part(seen, cluster, pods, now, build)
    groups = [group_part(seen, cluster, group, pods, now, build) for group in cluster.spec.worker_groups]
    decided = Decided(
        cluster=cluster,
        head=_head(seen, cluster, head, groups, todo, now),
        groups=[
            *_groups(seen, cluster, head, groups, todo, now),
            *_removed(seen, cluster, pods, now),
        ],
        causes=todo.causes,
        upkeep=_moves_on(seen, todo),
    )
    return _said(_actions(decided, head, groups, todo, now), seen, status_of(seen, decided, now))


def _head(
    seen: Seen, cluster: MantaCluster, head: Part, groups: Iterable[Part], todo: Upkeep, now: float
) -> HeadDecided:
    pod = next(iter(head.pods), None)
    wish = HeadWish(
        revision=head.revision,
        # Workers of an old spec are drained first, by the head that they know; one that does not serve drains nobody.
        replace=head.replace
        and (pod is None or not pod.ready or not any(part.replace and part.outdated for part in groups)),
        suspended=cluster.spec.suspend,
        hold=head.hold or not todo.ready,
    )
    made = move_head(pod, wish, now)
    claim = claims.claim_name(cluster)
    mounted = named(seen.claims, claim) if claim else None
    return HeadDecided(
        revision=head.revision,
        pod=pod,
        move=made,
        causes=[*head.said(missing=made.missing), *_pod_causes(seen, head.pods, mounted, now)],
        retried=_retried(seen, head),
    )


def _groups(
    seen: Seen, cluster: MantaCluster, head: Part, groups: Iterable[Part], todo: Upkeep, now: float
) -> list[GroupDecided]:
    # New workers wait for a head that is about to be replaced: they would join the old one for a moment only. They do not wait
    # for one that is starting, but for one that cannot be.
    renewed = head.replace and head.outdated
    headless = head.hold if not head.pods else head.pods[0].standing is Standing.FOREIGN
    suspended, decided = cluster.spec.suspend, []
    for part in groups:
        wish = Wish(
            desired=part.replicas,
            revision=part.revision,
            replace=part.replace,
            suspended=suspended,
            hold=part.hold or not todo.ready or renewed or headless,
            taken=part.taken,
        )
        moves = move(part.pods, wish, seen.control, now)
        decided.append(
            GroupDecided(
                name=part.name,
                desired=0 if suspended else part.replicas,
                revision=part.revision,
                pods=part.pods,
                moves=moves,
                causes=[
                    *part.said(missing=moves.missing > 0),
                    *moves.causes,
                    *_pod_causes(seen, part.pods, None, now),
                ],
                retried=_retried(seen, part),
            )
        )
    return decided


def _retried(seen: Seen, part: Part) -> bool:
    """Whether pods of this spec were refused for a reason that stays: trying again is no news, or each try would be two."""
    passing = (Why.TEMPORARY, Why.NAME_TAKEN)  # another slot is another pod
    return any(one.generation == seen.generation and one.why not in passing for one in part.refusals)


def _moves_on(seen: Seen, todo: Upkeep) -> bool:
    """Whether anything is written beside pods that was not refused before."""
    refused = {(one.plural, one.name) for one in seen.refusals if one.why is not Why.TEMPORARY}
    written: list[Create | Apply] = [*todo.creates, *todo.applies]
    names = ((one.resource.plural, one.manifest["metadata"]["name"]) for one in written)
    return bool(todo.deletes) or any(name not in refused for name in names)


def _removed(seen: Seen, cluster: MantaCluster, pods: Iterable[Pod], now: float) -> list[GroupDecided]:
    """Groups that the spec has no more, and that still have pods."""
    there = {group.name for group in cluster.spec.worker_groups} | {HEAD}
    left: dict[str, list[Pod]] = {}
    for pod in pods:
        if pod.group not in there and pod.standing is not Standing.FOREIGN:
            left.setdefault(pod.group, []).append(pod)
    wish, decided = Wish(desired=0, revision="", suspended=cluster.spec.suspend), []
    for name, those in left.items():
        moves = move(those, wish, seen.control, now)
        # Whatever is wrong with them, they go, unless control does not let them.
        causes = [*moves.causes, *(cause for cause in _pod_causes(seen, those, None, now) if not cause.fault)]
        decided.append(GroupDecided(name=name, desired=0, revision="", pods=those, moves=moves, causes=causes))
    return decided


def _pod_causes(seen: Seen, pods: Iterable[Pod], claim: Manifest | None, now: float) -> list[Cause]:
    found = (cause_of(pod, seen.warnings, claim, now) or memory_cause(pod, now) for pod in pods)
    return [cause for cause in found if cause is not None]


def _actions(decided: Decided, head: Part, groups: Sequence[Part], todo: Upkeep, now: float) -> Plan:
    """Everything that is done, less what is said about it."""
    made: HeadMove = decided.head.move
    every: list[Moves] = [group.moves for group in decided.groups]
    pods = [Create(resource=PODS, manifest=head.make(0), group=HEAD)] if made.create else []
    for part, moves in zip(groups, every, strict=False):  # groups that are no more come last, and make none
        pods += [Create(resource=PODS, manifest=part.make(slot), group=part.name) for slot in moves.creates]
    suspended = decided.cluster.spec.suspend
    times = [
        *todo.again_at,
        *(at for moves in every for at in moves.again_at),
        *(at for part in (head, *groups) for at in part.again_at),
        *(cause.until for cause in decided.every_cause if cause.until is not None),
        *([] if made.again_at is None else [made.again_at]),
    ]
    return Plan(
        creates=(*todo.creates, *pods),
        applies=tuple(todo.applies),
        deletes=(
            *todo.deletes,
            *(one for moves in every for one in moves.deletes),
            *([] if made.delete is None else [made.delete]),
        ),
        drains=tuple(one for moves in every for one in moves.drains),
        checks=tuple(part.check for part in (head, *groups) if part.check is not None and not suspended),
        again_at=min((at for at in times if at > now), default=None),
    )


def _said(made: Plan, seen: Seen, status: Manifest) -> Plan:
    """A plan with its status, if that is news, and with what people are told of it."""
    if is_said(seen, status):
        return made
    before = seen.raw.get("status")
    told = tuple(events(before if isinstance(before, dict) else {}, status))
    return dataclasses.replace(made, status=StatusUpdate(status=status), events=told)
