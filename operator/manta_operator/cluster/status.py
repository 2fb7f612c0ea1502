"""The status of a cluster: a function of what is seen and decided, and of nothing that was said before but the times at which
conditions changed. Pure.
"""

from __future__ import annotations

from manta_operator.api.cluster_status import ClusterStatus, Endpoints, GroupStatus, HeadStatus
from manta_operator.api.field import fields_of
from manta_operator.api.render import render
from manta_operator.builders.labels import PORTS, Manifest, dashboard_name, gateway_name
from manta_operator.cluster.causes import Cause, last_failure, restarts, worst
from manta_operator.cluster.conditions import answers, as_conditions, invalid
from manta_operator.cluster.decided import Decided, GroupDecided, HeadDecided
from manta_operator.cluster.pods import Standing
from manta_operator.cluster.seen import Seen
from manta_operator.cluster.totals import totals

#: Longest message of a group.
_MESSAGE = 1024
#: Groups that a status can have; a spec has fewer, but groups that it had before may still have pods.
_GROUPS = 64


def status_of(seen: Seen, decided: Decided, now: float) -> Manifest:
    """The whole status, as it is applied."""
    groups = tuple(_group(one) for one in decided.groups[:_GROUPS])
    return _rendered(
        ClusterStatus(
            observed_generation=seen.generation,
            conditions=as_conditions(answers(decided), seen.raw, seen.generation, now),
            workers=f"{sum(one.ready for one in groups)}/{sum(one.desired for one in groups)}",
            groups=groups,
            head=_head(decided.head),
            resources=totals(pod for group in decided.groups for pod in group.present if pod.ready),
            endpoints=_endpoints(decided),
        )
    )


def invalid_status(seen: Seen, why: str, now: float) -> Manifest:
    """The status of a cluster whose spec cannot be read."""
    conditions = as_conditions(invalid(why), seen.raw, seen.generation, now)
    return _rendered(ClusterStatus(observed_generation=seen.generation, conditions=conditions))


def is_said(seen: Seen, status: Manifest) -> bool:
    """Whether a cluster already has this status. What others have put into it is theirs."""
    said = seen.raw.get("status")
    said = said if isinstance(said, dict) else {}
    return all(said.get(one.name) == status.get(one.name) for one in fields_of(ClusterStatus))


def _rendered(status: ClusterStatus) -> Manifest:
    rendered: Manifest = render(status)
    return rendered


def _group(group: GroupDecided) -> GroupStatus:
    cause = worst(group.causes)
    return GroupStatus(
        name=group.name,
        desired=group.desired,
        ready=group.ready,
        updated=group.updated,
        pending=len(group.present) - group.ready,
        terminating=group.going,
        reason=cause.reason if cause else None,
        message=_together(group, cause) if cause else None,
    )


def _together(group: GroupDecided, cause: Cause) -> str:
    """A cause in words, and how many others there are like it."""
    alike = sum(one.reason == cause.reason for one in group.causes) - 1
    return cause.message[: _MESSAGE - 40] + (f" (and {alike} more like it)" if alike else "")


def _head(head: HeadDecided) -> HeadStatus:
    # Faults, and memory: a start has many steps, and each would be another text.
    pod, cause = head.pod, worst(one for one in head.causes if one.fault or one.reason == "OOMKilled")
    reason, message = (cause.reason, cause.message[:_MESSAGE]) if cause else (None, None)
    if pod is None or pod.standing is Standing.FOREIGN:
        return HeadStatus(reason=reason, message=message)
    return HeadStatus(
        pod_name=pod.name, ready=head.ready, restarts=restarts(pod), last_failure=last_failure(pod),
        reason=reason, message=message,
    )  # fmt: skip


def _endpoints(decided: Decided) -> Endpoints:
    metadata, tls = decided.cluster.metadata, decided.cluster.spec.tls.enabled
    name, space = metadata.name, metadata.namespace
    return Endpoints(
        gateway=f"manta://{gateway_name(name)}.{space}.svc:{PORTS['gateway']}",
        dashboard=f"http{'s' if tls else ''}://{dashboard_name(name)}.{space}.svc:{PORTS['dashboard']}",
    )
