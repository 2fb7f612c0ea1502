"""Failures in fields, and the exceptions their readers get.

An owner makes, stores and forwards failures without unpickling anything; `reading.exception_of` runs in the process that reads
one.
"""

from __future__ import annotations

from manta.client.values import Failure
from manta.core import errors
from manta.core.errors.failure import Failure as Described
from manta.core.ids import is_put
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.transport.convert import encodable, error_to_proto, fields_from_proto, fields_to_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.core.errors import MantaError


def system(error: MantaError, function: str = "") -> Failure:
    """A failure that is one of our own errors."""
    return Failure(pb.TaskFailure(kind=pb.FAILURE_KIND_SYSTEM, error=error_to_proto(error), function=function))


def cancelled(function: str, oid: bytes) -> Failure:
    """The task was cancelled before or while it ran."""
    from manta.core.ids import TaskID

    error = errors.TaskCancelledError(TaskID(oid[:24]))
    return Failure(pb.TaskFailure(kind=pb.FAILURE_KIND_CANCELLED, error=error_to_proto(error), function=function))


def worker_crashed(function: str, cause: str) -> Failure:
    """The worker died and no retries were left."""
    return system(errors.WorkerCrashedError(cause), function)


def node_died(function: str, oid: bytes, cause: str) -> Failure:
    """The node died on which the task ran, and no retries were left."""
    error = errors.WorkerCrashedError(cause)
    return system(error.with_facts(object=oid.hex(), creator=creator_of(oid)), function)


def out_of_memory(function: str, cause: str) -> Failure:
    """The node's memory monitor killed the worker."""
    return system(errors.OutOfMemoryError(cause), function)


def actor_unavailable(actor_id: bytes, class_name: str) -> Failure:
    """The actor's process ended with this call under way; another life follows."""
    return system(errors.ActorUnavailableError(f"the process of {class_name} died and is being restarted", actor_id))


def result_lost(actor_id: bytes, class_name: str) -> Failure:
    """The connection to the actor broke: the call ran there, or runs, and what it returns does not arrive."""
    return system(
        errors.ActorUnavailableError(
            f"the connection to {class_name} broke, and the call's result was lost with it; the actor lives", actor_id
        )
    )


def constructor_raised(fields: pb.TaskFailure) -> Failure:
    """The actor never came to be: its constructor raised."""
    raised = describe(fields).to_error(None)
    return system(errors.ActorDiedError(raised if isinstance(raised, errors.RayTaskError) else None))


def owner_died(oid: bytes, owner: bytes, why: str = "") -> Failure:
    """The process that owned the object is gone; `why` is why its node is, if that is so."""
    node_id = common.Address.FromString(owner).node_id.hex()
    reason = f"its node is dead: {why}" if why else "its process ended, or cannot be reached"
    error = errors.OwnerDiedError(oid.hex(), owner)
    return system(error.with_facts(creator=creator_of(oid), node_id=node_id, reason=reason))


def stale(oid: bytes) -> Failure:
    """Nothing of this session has that id."""
    return system(errors.StaleRefError(oid.hex()))


def lost(oid: bytes, owner: bytes = b"") -> Failure:
    """Nobody has the object any more: neither this process nor its owner, if that is another one."""
    node_id = common.Address.FromString(owner).node_id.hex() if owner else ""
    detail = "Its owner does not know it (any more)." if owner else "No reference to it is left here."
    error = errors.ObjectLostError(oid.hex(), owner or None, detail=detail)
    return system(error.with_facts(creator=creator_of(oid), node_id=node_id))


def creator_of(oid: bytes) -> str:
    """Who made an object, for people."""
    return "put()" if is_put(oid) else f"task {oid[:24].hex()}"


def described(failure: Described, kind: int = pb.FAILURE_KIND_APPLICATION) -> pb.TaskFailure:
    """The wire form of what user code raised."""
    message = pb.TaskFailure(
        kind=kind,  # type: ignore[arg-type]
        classes=map(encodable, failure.classes),
        traceback=encodable(failure.traceback),
        cause=failure.cause,
        message=encodable(failure.message),
        pid=failure.pid,
        node_ip=failure.ip,
        function=encodable(failure.function),
        actor_repr=encodable(failure.actor_repr),
        actor_id=bytes.fromhex(failure.actor_id),
    )
    if failure.error is not None:
        message.error.CopyFrom(fields_to_proto(failure.error))
    return message


def describe(fields: pb.TaskFailure) -> Described:
    """What user code raised, back from the wire; nothing is unpickled."""
    return Described(
        fields.function,
        fields.traceback,
        classes=fields.classes,
        message=fields.message,
        cause=fields.cause,
        error=fields_from_proto(fields.error) if fields.HasField("error") else None,
        pid=fields.pid,
        ip=fields.node_ip,
        actor_id=fields.actor_id.hex(),
        actor_repr=fields.actor_repr,
    )


def of_argument(argument: Failure, function: str, pid: int, ip: str) -> Failure:
    """The failure of a call that never ran because an argument of it failed."""
    argument.read = True
    fields = argument.fields
    if fields.kind == pb.FAILURE_KIND_CANCELLED:
        return argument
    upstream = describe(fields) if fields.kind in RAISED else fields_from_proto(fields.error)
    return Failure(
        described(Described.of_argument(upstream, function=function, pid=pid, ip=ip), pb.FAILURE_KIND_DEPENDENCY)
    )


#: Kinds that `describe` reads.
RAISED = (pb.FAILURE_KIND_APPLICATION, pb.FAILURE_KIND_DEPENDENCY)
