"""`get`, `put`, `wait`, `cancel`, `kill`: what users do with refs and handles."""

from __future__ import annotations

import time
from operator import index

from manta.client import current
from manta.client.refs import SIZE, ObjectRef
from manta.core.generics import T, overload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeVar

    from manta.client.generators import ObjectRefGenerator
    from manta.client.handles import ActorHandle

    Waitable = TypeVar("Waitable", bound="ObjectRef[Any] | ObjectRefGenerator[Any]")


_REF = frozenset((ObjectRef,))


@overload
def get(object_refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...
@overload
def get(object_refs: Sequence[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...
@overload
def get(object_refs: ObjectRefGenerator[T], *, timeout: float | None = None) -> ObjectRefGenerator[T]: ...
def get(object_refs: Any, *, timeout: float | None = None) -> Any:
    """Wait for values and return them.

    Args:
        object_refs: A ref, or a list of refs.
        timeout: Seconds to wait at most; None and -1 wait for ever, 0 only looks.
    Returns:
        The value, or the values in the order of the refs. Arrays in them are read-only views of shared memory, which they
        keep in place as long as they live.
    Raises:
        GetTimeoutError: Something was not there in time; its task goes on.
        RayTaskError: The task raised; the error is also an instance of what it raised.
        ValueError, TypeError: `object_refs` is something else.
    """
    session = current.session
    if session is None:
        session = current.require()
    deadline = None if timeout is None else _deadline(timeout)
    if type(object_refs) is ObjectRef:
        return session.get_one(object_refs, deadline)
    if type(object_refs) is list or isinstance(object_refs, list):
        if not _REF.issuperset(map(type, object_refs)):
            for item in object_refs:
                if type(item) is not ObjectRef:
                    raise TypeError(
                        f"Attempting to call `get` on the value {item!r:.200}, which is not an ray.ObjectRef."
                    )
        return session.get_many(object_refs, deadline) if object_refs else []
    if hasattr(object_refs, "completed") and hasattr(object_refs, "next_ready"):
        return object_refs
    raise ValueError(
        f"Invalid type of object refs, {type(object_refs)}, is given. 'object_refs' must either be an ObjectRef or a list "
        "of ObjectRefs. "
    )


def _seconds(timeout: Any) -> float:
    """A number of seconds, also as NumPy has them."""
    if isinstance(timeout, bool) or not hasattr(type(timeout), "__float__"):
        raise TypeError(f"timeout takes a number of seconds or None, got {timeout!r:.100}")
    return float(timeout)


def _count(num_returns: Any) -> int:
    """A number of refs, also as NumPy has them."""
    try:
        return index(num_returns)
    except TypeError:
        raise TypeError(f"num_returns takes a number of refs, got {num_returns!r:.100}") from None


def _deadline(timeout: float) -> float | None:
    timeout = _seconds(timeout)
    if timeout == -1:
        return None
    if timeout < 0 or timeout != timeout:
        raise ValueError(f"timeout must not be negative, got {timeout}; -1 and None wait for ever")
    return time.monotonic() + timeout


def put(value: T, *, _owner: Any = None, _tensor_transport: str | None = None) -> ObjectRef[T]:
    """Store a value and return its ref. Changing the value afterwards has no effect on what was stored.

    Raises:
        TypeError: The value is a ref, or cannot be pickled; says which part of it.
        ObjectStoreFullError: There is no room for it.
    """
    if type(value) is ObjectRef:
        raise TypeError(
            "Calling 'put' on an ray.ObjectRef is not allowed. If you really want to do this, you can wrap the "
            "ray.ObjectRef in a list and call 'put' on it."
        )
    if _owner is not None:
        raise ValueError("`_owner` is not supported: the process that calls put owns the object.")
    return current.require().put(value)


def wait(
    ray_waitables: list[Waitable], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Waitable], list[Waitable]]:
    """Wait until some of the refs are ready.

    Args:
        ray_waitables: A list of refs and generators; no duplicates.
        num_returns: How many to wait for; at most so many are returned as ready.
        timeout: Seconds to wait at most; None waits for ever, 0 only looks.
        fetch_local: Whether ready means here, on this node; where not, values are fetched when they are read.
    Returns:
        (ready, rest), both in the order given. A failed task is ready.
    """
    refs: Any = ray_waitables
    if isinstance(refs, ObjectRef):
        raise TypeError("wait() expected a list of ray.ObjectRef or ObjectRefGenerator, got a single ray.ObjectRef")
    if not isinstance(refs, list):
        raise TypeError(f"wait() expected a list of ray.ObjectRef or ObjectRefGenerator, got {type(refs)}")
    if type(num_returns) is not int:
        num_returns = _count(num_returns)
    if timeout is not None:
        timeout = _seconds(timeout)
        if not timeout >= 0:  # NaN too
            raise ValueError(f"The 'timeout' argument must be nonnegative. Received {timeout}")
    session = current.session
    if session is None:
        session = current.require()
    ids = _ids_of(refs)
    if ids is None:
        from manta.client.waiting import wait_mixed

        return wait_mixed(session, refs, num_returns, timeout)
    if not refs:
        return [], []
    if len(set(ids)) != len(ids):
        raise ValueError("Wait requires a list of unique ray_waitables.")
    if num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return {num_returns}.")
    if num_returns > len(refs):
        raise ValueError("num_returns cannot be greater than the number of ray_waitables provided to ray.wait.")
    deadline = None if timeout is None else (0 if timeout == 0 else time.monotonic() + timeout)
    if not fetch_local:
        return session.wait(refs, ids, num_returns, deadline, False)  # type: ignore[return-value]
    return session.wait(refs, ids, num_returns, deadline)  # type: ignore[return-value]  # the very refs that were given


def _ids_of(waitables: list[Any]) -> list[bytes] | None:
    """Ids of refs; None when something else is among them.

    Nothing is asked for its type: programs wait for a thousand refs one by one, and every pass over them counts (benchmark
    `wait_1k`; a comprehension takes half the time of `map` with an `attrgetter`). Joining the ids finds what has every
    attribute, as mocks do.
    """
    try:
        ids = [one._manta_id for one in waitables]
        return ids if len(b"".join(ids)) == SIZE * len(ids) else None
    except (AttributeError, TypeError):
        return None


def cancel(ray_waitable: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the task that makes an object: pending, it never runs; running, it is interrupted.

    Args:
        ray_waitable: A ref or generator of the task.
        force: Kill the worker. Not for actor calls.
        recursive: The tasks it submitted too.
    """
    from manta.client.generators import ObjectRefGenerator

    session = current.require()
    if isinstance(ray_waitable, ObjectRefGenerator):
        oid = ray_waitable._reader.whole
    elif isinstance(ray_waitable, ObjectRef):
        oid = ray_waitable._id
    else:
        raise TypeError(
            f"ray.cancel() only supported for object refs. For actors, try ray.kill(). Got: {type(ray_waitable)}."
        )
    session.cancel(oid, force=force, recursive=recursive)


def kill(actor: ActorHandle[Any], *, no_restart: bool = True) -> None:
    """Kill an actor at once, as SIGKILL does; its name is free afterwards.

    Args:
        actor: Its handle.
        no_restart: False lets `max_restarts` apply.
    Raises:
        ValueError: `actor` is no actor handle.
    """
    from manta.client.handles import ActorHandle
    from manta.core.errors import ActorHandleNotFoundError

    session = current.require()
    if not isinstance(actor, ActorHandle):
        raise ValueError(  # noqa: TRY004 - what programs catch
            f"ray.kill() only supported for actors. For tasks, try ray.cancel(). Got: {type(actor)}."
        )
    if actor._session is not session:
        raise ActorHandleNotFoundError(
            f"ActorHandle objects are not valid across Ray sessions: {actor!r} belongs to an earlier cluster"
        )
    session.kill_actor(actor._client, no_restart=no_restart)
