"""Control's nouns as wire messages and back. Tables and state never see a message; `services/`, `orders` and `records` do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manta.control.commands import StartOnNode
from manta.control.errors import InvalidRequestError
from manta.control.events import Verdict
from manta.control.model import (
    Actor,
    ActorId,
    ActorSpec,
    ActorState,
    Address,
    Amounts,
    DeathCause,
    DeathKind,
    Drain,
    Job,
    JobId,
    JobState,
    Load,
    Node,
    NodeId,
    NodeState,
    Pending,
    RunningActor,
    WorkerId,
)
from manta.core.strategy import ANYWHERE
from manta.rpc.v1 import common_pb2, control_pb2, raylet_pb2
from manta.transport.convert import strategy_from_proto, strategy_to_proto

#: Shapes of pending tasks that are taken from one node.
PENDING_SHAPES = 100

NODE_ID_BYTES = 28
WORKER_ID_BYTES = 28
JOB_ID_BYTES = 4
ACTOR_ID_BYTES = 16
#: Amounts above this are refused: 100 TB of memory in ten-thousandths of a byte still fit.
MOST = 1 << 60
#: The most that the wire can say.
LARGEST = (1 << 63) - 1
NAME_LIMIT = 4096
#: Of one node or request: a node has a handful, and a few for each bundle of a placement group that it holds.
MOST_RESOURCES = 20_000
#: Of one node.
MOST_LABELS = 1000


def identifier(value: bytes, size: int, field: str) -> bytes:
    """The bytes, if there are as many as there must be.

    Raises:
        InvalidRequestError: There are not.
    """
    if len(value) != size:
        raise InvalidRequestError(f"{field} must have {size} bytes, not {len(value)}")
    return value


def node_id(value: bytes, field: str = "node_id") -> NodeId:
    """A node's id from the wire."""
    return NodeId(identifier(value, NODE_ID_BYTES, field))


def job_id(value: bytes, field: str = "job_id") -> JobId:
    """A job's id from the wire."""
    return JobId(identifier(value, JOB_ID_BYTES, field))


def actor_id(value: bytes, field: str = "actor_id") -> ActorId:
    """An actor's id from the wire."""
    return ActorId(identifier(value, ACTOR_ID_BYTES, field))


def name(value: str, field: str) -> str:
    """A name that a user chose: anything, but not endlessly long.

    Raises:
        InvalidRequestError: It is too long.
    """
    if len(value) > NAME_LIMIT:
        raise InvalidRequestError(f"{field} has {len(value)} characters, at most {NAME_LIMIT} are allowed")
    return value


def address(message: common_pb2.Address, field: str = "address") -> Address:
    """An address from the wire."""
    return Address(
        node_id(message.node_id, f"{field}.node_id"),
        WorkerId(identifier(message.worker_id, WORKER_ID_BYTES, f"{field}.worker_id")),
        name(message.endpoint, f"{field}.endpoint"),
        name(message.door, f"{field}.door"),
    )


def amounts(message: common_pb2.Resources, field: str = "resources") -> Amounts:
    """Amounts from the wire.

    Raises:
        InvalidRequestError: One is negative or absurd.
    """
    result = dict(message.amounts)
    if len(result) > MOST_RESOURCES:
        raise InvalidRequestError(f"{field} names {len(result)} resources, at most {MOST_RESOURCES} are allowed")
    for key, amount in result.items():
        if not 0 <= amount <= MOST:
            raise InvalidRequestError(f"{field}[{key[:80]!r}] is {amount}; it must be between 0 and {MOST}")
        name(key, f"a name in {field}")
    return result


def to_address(value: Address | None) -> common_pb2.Address | None:
    """An address for the wire; None stays unset."""
    if value is None:
        return None
    return common_pb2.Address(
        node_id=value.node_id, worker_id=value.worker_id, endpoint=value.endpoint, door=value.door
    )


def to_amounts(value: Amounts) -> common_pb2.Resources:
    """Amounts for the wire; sums beyond its 64 bits are shown as the most there is."""
    return common_pb2.Resources(amounts={key: max(-LARGEST, min(amount, LARGEST)) for key, amount in value.items()})


def node(message: control_pb2.NodeInfo) -> Node:
    """What a raylet says of its node; its state and times are left to control."""
    if not message.raylet_target:
        raise InvalidRequestError("node.raylet_target is empty; it must say where the raylet's gRPC service is")
    return Node(
        node_id=node_id(message.node_id, "node.node_id"),
        raylet_target=name(message.raylet_target, "node.raylet_target"),
        channel_endpoint=name(message.channel_endpoint, "node.channel_endpoint"),
        door=name(message.door, "node.door"),
        host=name(message.host, "node.host"),
        name=name(message.name, "node.name"),
        pid=message.pid,
        total=amounts(message.total, "node.total"),
        labels=_labels(message.labels),
        head=message.head,
    )


def _labels(message: Mapping[str, str]) -> dict[str, str]:
    if len(message) > MOST_LABELS:
        raise InvalidRequestError(f"node.labels has {len(message)} entries, at most {MOST_LABELS} are allowed")
    return {
        name(key, "a name in node.labels"): name(value, f"node.labels[{key[:80]!r}]") for key, value in message.items()
    }


def to_node(
    row: Node, available: Amounts | None = None, gauges: Mapping[str, int] | None = None
) -> control_pb2.NodeInfo:
    """A node for the wire."""
    gauges = gauges or {}
    return control_pb2.NodeInfo(
        node_id=row.node_id,
        state=enum(control_pb2.NodeState, row.state),
        raylet_target=row.raylet_target,
        channel_endpoint=row.channel_endpoint,
        door=row.door,
        host=row.host,
        name=row.name,
        pid=row.pid,
        total=to_amounts(row.total),
        available=None if available is None else to_amounts(available),
        labels=row.labels,
        head=row.head,
        started_unix_ms=row.started_unix_ms,
        ended_unix_ms=row.ended_unix_ms,
        death_reason=row.death_reason,
        drain=to_drain(row),
        oom_kills=gauges.get("oom_kills", 0),
        oom_unix_ms=gauges.get("oom_unix_ms", 0),
    )


def to_drain(row: Node) -> control_pb2.NodeDrain | None:
    """How far a node's drain is; None when it is not drained."""
    drain = row.drain
    if drain is None:
        return None
    gone = row.state is NodeState.DEAD
    return control_pb2.NodeDrain(
        state=control_pb2.DRAIN_STATE_DRAINED if gone else control_pb2.DRAIN_STATE_DRAINING,
        reason=drain.reason,
        grace_ms=drain.grace_ms,
        deadline_unix_ms=drain.deadline_unix_ms,
    )


def load(message: control_pb2.NodeLoad) -> Load:
    """What a node says of its work; of a long list the first."""
    return Load(
        message.tasks,
        message.owners,
        message.actors,
        message.drivers,
        message.objects,
        message.object_bytes,
        tuple(
            Pending(amounts(each.resources, "load.pending"), each.count, each.name[:200], each.infeasible[:1000])
            for each in message.pending[:PENDING_SHAPES]
        ),
        message.stuck_objects,
        message.stuck_bytes,
        message.stuck_reason[:1000],
    )


def to_load(value: Load) -> control_pb2.NodeLoad:
    """The same for the wire, without what waits."""
    return control_pb2.NodeLoad(
        tasks=value.tasks,
        owners=value.owners,
        actors=value.actors,
        drivers=value.drivers,
        objects=value.objects,
        object_bytes=value.object_bytes,
        stuck_objects=value.stuck_objects,
        stuck_bytes=value.stuck_bytes,
        stuck_reason=value.stuck_reason,
    )


def stored_node(message: control_pb2.NodeInfo) -> Node:
    """A node as control itself wrote it."""
    return Node(
        node_id=NodeId(message.node_id),
        raylet_target=message.raylet_target,
        channel_endpoint=message.channel_endpoint,
        door=message.door,
        host=message.host,
        name=message.name,
        pid=message.pid,
        total=dict(message.total.amounts),
        labels=dict(message.labels),
        head=message.head,
        state=NodeState(message.state),
        started_unix_ms=message.started_unix_ms,
        ended_unix_ms=message.ended_unix_ms,
        death_reason=message.death_reason,
        drain=Drain(message.drain.reason, message.drain.grace_ms, message.drain.deadline_unix_ms)
        if message.HasField("drain")
        else None,
    )


def to_job(row: Job) -> control_pb2.JobInfo:
    """A job for the wire."""
    return control_pb2.JobInfo(
        job_id=row.job_id,
        state=enum(control_pb2.JobState, row.state),
        namespace=row.namespace,
        driver=to_address(row.driver),
        driver_pid=row.driver_pid,
        entrypoint=row.entrypoint,
        config=row.config,
        started_unix_ms=row.started_unix_ms,
        ended_unix_ms=row.ended_unix_ms,
        message=row.message,
    )


def stored_job(message: control_pb2.StoredJob) -> Job:
    """A job as control itself wrote it."""
    info = message.info
    return Job(
        job_id=JobId(info.job_id),
        namespace=info.namespace,
        driver=_stored_address(info.driver),
        driver_pid=info.driver_pid,
        entrypoint=info.entrypoint,
        config=info.config,
        request_id=message.request_id,
        state=JobState(info.state),
        started_unix_ms=info.started_unix_ms,
        ended_unix_ms=info.ended_unix_ms,
        message=info.message,
    )


def actor_spec(request: control_pb2.CreateActorRequest) -> ActorSpec:
    """What an owner says of an actor.

    Raises:
        InvalidRequestError: A field is malformed.
    """
    if request.max_restarts < -1:
        raise InvalidRequestError(f"max_restarts is {request.max_restarts}; it must be -1 (for ever) or more")
    if request.get_if_exists and not request.name:
        raise InvalidRequestError("get_if_exists needs a name")
    if request.strategy.node_id:
        node_id(request.strategy.node_id, "strategy.node_id")
    return ActorSpec(
        actor_id=actor_id(request.actor_id),
        job_id=job_id(request.job_id),
        owner=address(request.owner, "owner"),
        spec=request.spec,
        handle=request.handle,
        name=name(request.name, "name"),
        namespace=name(request.namespace, "namespace"),
        detached=request.detached,
        place=amounts(request.place, "place"),
        hold=amounts(request.hold, "hold"),
        max_restarts=request.max_restarts,
        env_hash=request.env_hash,
        class_name=name(request.class_name, "class_name"),
        function_hash=request.function_hash,
        piece_hashes=tuple(request.piece_hashes),
        strategy=strategy_from_proto(request.strategy),
    )


def to_actor(row: Actor) -> control_pb2.ActorInfo:
    """An actor for the wire."""
    spec = row.spec
    return control_pb2.ActorInfo(
        actor_id=spec.actor_id,
        job_id=spec.job_id,
        state=enum(control_pb2.ActorPhase, row.state),
        name=spec.name,
        namespace=spec.namespace,
        detached=spec.detached,
        class_name=spec.class_name,
        incarnation=row.incarnation,
        address=to_address(row.address),
        pid=row.pid,
        node_id=row.node_id,
        death_cause=None if row.death is None else to_death(row.death),
        num_restarts=row.num_restarts,
        max_restarts=spec.max_restarts,
        waiting_reason=row.waiting_reason,
        handle=spec.handle,
        owner=to_address(spec.owner),
        place=to_amounts(spec.place),
        hold=to_amounts(spec.hold),
        created_unix_ms=row.created_unix_ms,
        ended_unix_ms=row.ended_unix_ms,
    )


def to_stored_actor(row: Actor) -> control_pb2.StoredActor:
    """An actor for the store."""
    spec = row.spec
    request = control_pb2.CreateActorRequest(
        actor_id=spec.actor_id,
        job_id=spec.job_id,
        owner=to_address(spec.owner),
        spec=spec.spec,
        handle=spec.handle,
        name=spec.name,
        namespace=spec.namespace,
        detached=spec.detached,
        place=to_amounts(spec.place),
        hold=to_amounts(spec.hold),
        max_restarts=spec.max_restarts,
        env_hash=spec.env_hash,
        class_name=spec.class_name,
        function_hash=spec.function_hash,
        piece_hashes=spec.piece_hashes,
        strategy=None if spec.strategy == ANYWHERE else strategy_to_proto(spec.strategy),
    )
    info = control_pb2.ActorInfo(
        state=enum(control_pb2.ActorPhase, row.state),
        incarnation=row.incarnation,
        address=to_address(row.address),
        pid=row.pid,
        node_id=row.node_id,
        death_cause=None if row.death is None else to_death(row.death),
        num_restarts=row.num_restarts,
        waiting_reason=row.waiting_reason,
        created_unix_ms=row.created_unix_ms,
        ended_unix_ms=row.ended_unix_ms,
    )
    return control_pb2.StoredActor(request=request, info=info, released=row.released)


def stored_actor(message: control_pb2.StoredActor) -> Actor:
    """An actor as control itself wrote it."""
    request, info = message.request, message.info
    spec = ActorSpec(
        actor_id=ActorId(request.actor_id),
        job_id=JobId(request.job_id),
        owner=_stored_address(request.owner),
        spec=request.spec,
        handle=request.handle,
        name=request.name,
        namespace=request.namespace,
        detached=request.detached,
        place=dict(request.place.amounts),
        hold=dict(request.hold.amounts),
        max_restarts=request.max_restarts,
        env_hash=request.env_hash,
        class_name=request.class_name,
        function_hash=request.function_hash,
        piece_hashes=tuple(request.piece_hashes),
        strategy=strategy_from_proto(request.strategy),
    )
    return Actor(
        spec,
        ActorState(info.state),
        incarnation=info.incarnation,
        node_id=NodeId(info.node_id),
        address=_stored_address(info.address) if info.HasField("address") else None,
        pid=info.pid,
        death=death(info.death_cause) if info.HasField("death_cause") else None,
        num_restarts=info.num_restarts,
        waiting_reason=info.waiting_reason,
        released=message.released,
        created_unix_ms=info.created_unix_ms,
        ended_unix_ms=info.ended_unix_ms,
    )


def to_death(cause: DeathCause) -> control_pb2.DeathCause:
    """A cause of death for the wire."""
    error = common_pb2.ErrorInfo.FromString(cause.error) if cause.error else None
    return control_pb2.DeathCause(kind=enum(control_pb2.DeathKind, cause.kind), message=cause.message, error=error)


def death(message: control_pb2.DeathCause) -> DeathCause:
    """A cause of death from the wire; a kind of a later version counts as a crash."""
    try:
        kind = DeathKind(message.kind)
    except ValueError:
        kind = DeathKind.SYSTEM_ERROR
    return DeathCause(kind, message.message, message.error.SerializeToString() if message.HasField("error") else b"")


def running_actor(message: control_pb2.RunningActor) -> RunningActor:
    """What a raylet says of an actor that it runs."""
    return RunningActor(
        actor_id=actor_id(message.actor_id),
        incarnation=message.incarnation,
        job_id=job_id(message.job_id),
        owner=address(message.owner, "owner"),
        address=address(message.address) if message.HasField("address") else None,
        pid=message.pid,
        detached=message.detached,
        hold=amounts(message.hold, "hold"),
        class_name=name(message.class_name, "class_name"),
    )


def fill_start(order: raylet_pb2.StartActorOrder, command: StartOnNode, job: Job | None, epoch: int) -> None:
    """Everything that a raylet needs to start an incarnation."""
    actor, spec = command.actor, command.actor.spec
    order.actor_id = spec.actor_id
    order.incarnation = actor.incarnation
    order.job_id = spec.job_id
    order.owner.node_id = spec.owner.node_id
    order.owner.worker_id = spec.owner.worker_id
    order.owner.endpoint = spec.owner.endpoint
    order.owner.door = spec.owner.door
    order.spec = spec.spec
    order.place.amounts.update(spec.place)
    order.hold.amounts.update(spec.hold)
    order.env_hash = spec.env_hash
    order.class_name = spec.class_name
    order.function_hash = spec.function_hash
    order.detached = command.outlives_job
    order.name = spec.name
    order.namespace = spec.namespace
    if job is not None:
        order.job_config = job.config
        order.driver_node = job.driver.node_id
    order.epoch = epoch
    order.num_restarts = actor.num_restarts


def verdict(value: int) -> Verdict:
    """A raylet's answer to a start; what it does not say is a refusal."""
    try:
        return Verdict(value)
    except ValueError:
        return Verdict.REFUSED


def _stored_address(message: common_pb2.Address) -> Address:
    return Address(NodeId(message.node_id), WorkerId(message.worker_id), message.endpoint, message.door)


def enum(kind: Any, value: int) -> Any:
    """A number as the generated stubs want an enum's; at run time it is the number."""
    del kind
    return value


def text_map(message: Mapping[str, int]) -> dict[str, int]:
    """A gauge map from the wire, bounded."""
    return dict(list(message.items())[:100])
