"""Placement groups as wire messages and back."""

from __future__ import annotations

from manta.control.convert import amounts, enum, identifier, job_id, name, to_amounts
from manta.control.errors import InvalidRequestError
from manta.control.groups.model import Group, GroupId, GroupState, Layout
from manta.control.model import JobId, NodeId, WorkerId
from manta.core.bundles import MOST_BUNDLES
from manta.core.strategy import ANYWHERE, Term
from manta.rpc.v1 import common_pb2
from manta.rpc.v1 import control_pb2 as pb
from manta.transport.convert import strategy_from_proto, strategy_to_proto

GROUP_ID_BYTES = 18


def group(message: pb.PlacementGroupInfo) -> Group:
    """What a process says of a group it wants.

    Raises:
        InvalidRequestError: A field is malformed.
    """
    if not 0 < len(message.bundles) <= MOST_BUNDLES:
        raise InvalidRequestError(
            f"group.bundles has {len(message.bundles)} entries; there must be 1 to {MOST_BUNDLES} of them"
        )
    bundles = tuple(amounts(bundle, f"group.bundles[{index}]") for index, bundle in enumerate(message.bundles))
    if not all(any(bundle.values()) for bundle in bundles):
        raise InvalidRequestError("a bundle of the group is empty; each must ask for something")
    if len(message.selectors) not in (0, 1, len(bundles)):
        raise InvalidRequestError(
            f"group.selectors has {len(message.selectors)} entries; there must be none, one, or one per bundle"
        )
    try:
        layout = Layout(message.strategy)
    except ValueError:
        raise InvalidRequestError(f"group.strategy is {message.strategy}, which is no strategy") from None
    return Group(
        group_id=GroupId(identifier(message.group_id, GROUP_ID_BYTES, "group.group_id")),
        job_id=job_id(message.job_id, "group.job_id"),
        owner=WorkerId(message.owner),
        layout=layout,
        bundles=bundles,
        name=name(message.name, "group.name"),
        namespace=name(message.namespace, "group.namespace"),
        detached=message.detached,
        selectors=_selectors(message, len(bundles)),
    )


def to_group(row: Group) -> pb.PlacementGroupInfo:
    """A group for the wire, and for the store."""
    selectors = strategy_to_proto(ANYWHERE.replace(hard=row.selectors)).hard if row.selectors else ()
    return pb.PlacementGroupInfo(
        group_id=row.group_id,
        job_id=row.job_id,
        owner=row.owner,
        name=row.name,
        namespace=row.namespace,
        detached=row.detached,
        strategy=enum(pb.PlacementStrategy, row.layout),
        bundles=map(to_amounts, row.bundles),
        selectors=selectors,
        state=enum(pb.PlacementGroupState, row.state),
        nodes=row.nodes,
        waiting_reason=row.waiting_reason,
        created_unix_ms=row.created_unix_ms,
        ended_unix_ms=row.ended_unix_ms,
    )


def stored_group(message: pb.PlacementGroupInfo) -> Group:
    """A group as control itself wrote it."""
    return Group(
        group_id=GroupId(message.group_id),
        job_id=JobId(message.job_id),
        owner=WorkerId(message.owner),
        layout=Layout(message.strategy),
        bundles=tuple(dict(bundle.amounts) for bundle in message.bundles),
        name=message.name,
        namespace=message.namespace,
        detached=message.detached,
        selectors=_selectors(message, len(message.bundles)),
        state=GroupState(message.state),
        nodes=tuple(map(NodeId, message.nodes)),
        waiting_reason=message.waiting_reason,
        created_unix_ms=message.created_unix_ms,
        ended_unix_ms=message.ended_unix_ms,
    )


def _selectors(message: pb.PlacementGroupInfo, bundles: int) -> tuple[tuple[Term, ...], ...]:
    found = strategy_from_proto(common_pb2.SchedulingStrategy(hard=message.selectors)).hard
    return found * bundles if len(found) == 1 else found
