"""`wait` over lists that hold generators beside refs. A generator is ready when its next item, or its end, is there."""

from __future__ import annotations

from manta.client.generators import ObjectRefGenerator
from manta.client.refs import ObjectRef
from manta.client.values import Call
from manta.client.waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.session import Session


def wait_mixed(
    session: Session, waitables: list[Any], num_returns: int, timeout: float | None
) -> tuple[list[Any], list[Any]]:
    """As `api.objects.wait`, for what is not a list of refs only.

    Raises:
        TypeError: Something is neither a ref nor a generator.
        ValueError: Something is there twice, or `num_returns` does not fit.
    """
    for item in waitables:
        if not isinstance(item, (ObjectRef, ObjectRefGenerator)):
            raise TypeError(
                f"wait() expected a list of ray.ObjectRef or ObjectRefGenerator, got list containing {type(item)}"
            )
    if len({id(item) if isinstance(item, ObjectRefGenerator) else item._id for item in waitables}) != len(waitables):
        raise ValueError("Wait requires a list of unique ray_waitables.")
    if num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return {num_returns}.")
    if num_returns > len(waitables):
        raise ValueError("num_returns cannot be greater than the number of ray_waitables provided to ray.wait.")
    deadline = None if timeout is None else session.now() + timeout
    while True:
        ready = [at for at, item in enumerate(waitables) if _is_ready(session, item)][:num_returns]
        if len(ready) == num_returns or (deadline is not None and session.now() >= deadline):
            chosen = set(ready)
            return [waitables[at] for at in ready], [item for at, item in enumerate(waitables) if at not in chosen]
        _wait_for_any(session, waitables, deadline)


def _is_ready(session: Session, item: Any) -> bool:
    if isinstance(item, ObjectRefGenerator):
        return item.next_ready()
    return item._id in session.values.known


def _wait_for_any(session: Session, waitables: list[Any], deadline: float | None) -> None:
    """Wait until something that was not ready has become so."""
    waiter = Waiter()
    watcher = Call(lambda oid, value: session.finish(waiter))
    watched: list[bytes] = []
    with session.lock:
        session.check()
        for item in waitables:
            if isinstance(item, ObjectRefGenerator):
                if not item._reader.next_ready():
                    item._reader.waiters.append(waiter)
            elif item._id not in session.values.known:
                watched.append(item._id)
                session.watch(item._id, watcher)
        session.flush()
    try:
        session.wait_for(waiter, f"one of {len(waitables)} objects and streams", deadline)
    finally:
        with session.lock:
            session.values.unwatch(watched, watcher)
            for item in waitables:
                if isinstance(item, ObjectRefGenerator) and waiter in item._reader.waiters:
                    item._reader.waiters.remove(waiter)
