"""What user code raised, as it travels: plain fields that its owner can decide on without unpickling anything."""

from __future__ import annotations

import logging
import os

from manta.client import failures
from manta.core import errors
from manta.core.errors.base import class_name, message_of
from manta.core.errors.failure import Failure as Described
from manta.rpc.v1 import channel_pb2 as pb
from manta.serde import deserialize, dump_exception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.running import Running
    from manta.client.user import UserSession
    from manta.worker.calls import WorkerTemplate

log = logging.getLogger(__name__)

#: Largest exception that travels; a larger one is replaced by an error that says so. A frame has a limit.
MAX_EXCEPTION_BYTES = 32 << 20


def cancelled(name: str, oid: bytes) -> pb.ResultExtra:
    """The result of a call that was cancelled."""
    return pb.ResultExtra(failure=failures.cancelled(name, oid).fields)


def failed(session: UserSession, template: WorkerTemplate, error: BaseException, now: Running) -> pb.ResultExtra:
    """The result of a call out of which `error` came.

    User code runs here (`__str__`, `__reduce__` of the exception): what it raises changes a text and nothing else.
    """
    if now.cancelled and isinstance(error, KeyboardInterrupt):
        return cancelled(template.name, now.oid)
    host = session.actor_host
    actor_id = host.actor_id.hex() if host is not None else ""
    actor_repr = host.repr() if host is not None else ""
    ip = session.welcome.node_ip

    def describe(error: BaseException) -> Described:
        return Described.describe(
            error,
            _dump,
            function=template.name,
            pid=os.getpid(),
            ip=ip,
            actor_id=actor_id,
            actor_repr=actor_repr,
        )

    try:
        described = describe(error)
    except BaseException as worse:  # noqa: BLE001 - a `__str__` that exits, say: the call has failed, this process has not
        if now.cancelled and isinstance(worse, KeyboardInterrupt):
            return cancelled(template.name, now.oid)
        name = class_name(type(error))
        described = describe(
            errors.MantaError(f"{name}, which cannot be described: that raised {class_name(type(worse))}")
        )
        described.classes = (name, *described.classes)
    message = failures.described(described)
    try:
        message.retry = worth_retry(template, error)
    except BaseException as unknown:  # noqa: BLE001 - classes that cannot be loaded here, a metaclass's `__instancecheck__`
        log.warning("retry_exceptions of %s are of no use here: %s", template.name, message_of(unknown))
    return pb.ResultExtra(failure=message)


def _dump(error: BaseException) -> bytes:
    data = dump_exception(error)
    if len(data) > MAX_EXCEPTION_BYTES:
        raise errors.SerializationError(
            f"the exception {class_name(type(error))}",
            f"it comes to {len(data)} bytes, and an exception carries at most {MAX_EXCEPTION_BYTES}: put what is large and "
            "raise its ref",
        )
    return data


def worth_retry(template: WorkerTemplate, error: BaseException) -> bool:
    """Whether the call's `retry_exceptions` speak of this error."""
    definition = template.definition
    if definition.retry_any:
        return isinstance(error, Exception)
    if not definition.retry_exceptions:
        return False
    if template.retry_classes is None:
        template.retry_classes = tuple(deserialize(definition.retry_exceptions))
    if isinstance(error, errors.RayTaskError) and isinstance(error.cause, template.retry_classes):
        return True
    return isinstance(error, template.retry_classes)
