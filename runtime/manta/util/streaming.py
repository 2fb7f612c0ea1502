"""Results as they come: `as_completed` and `map_unordered`, both over `wait`."""

from __future__ import annotations

from collections import deque

from manta.api.objects import get, wait
from manta.core.generics import T, T_co, overload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Literal, Protocol

    from manta.client.refs import ObjectRef

    class Remote(Protocol[T_co]):
        """A remote function, one with options, or a method of an actor."""

        def remote(self, item: Any, /) -> ObjectRef[T_co]:
            """Call it."""
            ...


#: Results waited for at a time; more come in one go if more are there.
CHUNK_SIZE = 10
#: Calls of `map_unordered` under way at most.
BACKPRESSURE_SIZE = 100


@overload
def as_completed(
    refs: Sequence[ObjectRef[T]], *, chunk_size: int = ..., yield_obj_refs: Literal[False] = ..., **waiting: Any
) -> Iterator[T]: ...
@overload
def as_completed(
    refs: Sequence[ObjectRef[T]], *, chunk_size: int = ..., yield_obj_refs: Literal[True], **waiting: Any
) -> Iterator[ObjectRef[T]]: ...
def as_completed(
    refs: Sequence[ObjectRef[Any]], *, chunk_size: int = CHUNK_SIZE, yield_obj_refs: bool = False, **waiting: Any
) -> Iterator[Any]:
    """Values of refs in the order in which they become available.

    Args:
        refs: Refs without duplicates.
        chunk_size: How many to wait for before any of them is given, 1 or more. What becomes available together comes in the
            order of `refs`.
        yield_obj_refs: Give the refs instead of their values.
        waiting: `timeout` and `fetch_local` of `wait`. A timeout bounds each wait inside, not the whole: it only looks again.
    Raises:
        ValueError: `chunk_size` is below 1, or `num_returns` was given.
        RayTaskError: From the iterator, when it comes to a task that failed.
    """
    _check(chunk_size, waiting)
    return _completed(list(refs), chunk_size, yield_obj_refs, waiting)


@overload
def map_unordered(
    fn: Remote[T],
    items: Iterable[Any],
    *,
    backpressure_size: int | None = ...,
    chunk_size: int = ...,
    yield_obj_refs: Literal[False] = ...,
    **waiting: Any,
) -> Iterator[T]: ...
@overload
def map_unordered(
    fn: Remote[T],
    items: Iterable[Any],
    *,
    backpressure_size: int | None = ...,
    chunk_size: int = ...,
    yield_obj_refs: Literal[True],
    **waiting: Any,
) -> Iterator[ObjectRef[T]]: ...
def map_unordered(
    fn: Remote[Any],
    items: Iterable[Any],
    *,
    backpressure_size: int | None = BACKPRESSURE_SIZE,
    chunk_size: int = CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **waiting: Any,
) -> Iterator[Any]:
    """Call a remote function for each item; results come in the order in which they become available.

    Items are taken as the results are read, so that `items` may be long, endless even, and only so many calls are under way.

    Args:
        fn: A remote function of one argument, or an actor's method.
        items: Its arguments.
        backpressure_size: Calls under way at most; None for no bound.
        chunk_size: How many results to wait for once so many calls are under way, 1 or more.
        yield_obj_refs: Give refs instead of values.
        waiting: As for `as_completed`.
    Raises:
        ValueError: A size is below 1, or `num_returns` was given.
        RayTaskError: From the iterator, when it comes to a call that failed.
    """
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError("backpressure_size must be positive.")
    _check(chunk_size, waiting)
    return _mapped(fn, items, backpressure_size, chunk_size, yield_obj_refs, waiting)


def _check(chunk_size: int, waiting: dict[str, Any]) -> None:
    # Here and not in the generators: a mistake is told where it is made, not where the first result is read.
    if chunk_size < 1:
        raise ValueError("`chunk_size` must be >= 1")
    if "num_returns" in waiting:
        raise ValueError("Use the `chunk_size` argument instead of `num_returns`.")


def _completed(
    rest: list[ObjectRef[Any]], chunk_size: int, yield_obj_refs: bool, waiting: dict[str, Any]
) -> Iterator[Any]:
    while rest:
        found, rest = wait(rest, num_returns=min(chunk_size, len(rest)), **waiting)
        if found and rest:
            # Each look costs as much as there are refs. All that is there by now in one look keeps the whole linear when
            # results come faster than they are read.
            more, rest = wait(rest, num_returns=len(rest), timeout=0)
            found += more
        ready = deque(found)
        del found
        while ready:
            # Values are fetched by the chunk, and no ref outlives its turn: ready results may be larger than memory.
            chunk = [ready.popleft() for _ in range(min(chunk_size, len(ready)))]
            yield from chunk if yield_obj_refs else get(chunk)


def _mapped(
    fn: Remote[Any],
    items: Iterable[Any],
    backpressure_size: int | None,
    chunk_size: int,
    yield_obj_refs: bool,
    waiting: dict[str, Any],
) -> Iterator[Any]:
    refs: list[ObjectRef[Any]] = []
    for item in items:
        refs.append(fn.remote(item))
        while backpressure_size is not None and len(refs) >= backpressure_size:
            ready, refs = wait(refs, num_returns=min(chunk_size, len(refs)), **waiting)
            yield from ready if yield_obj_refs else get(ready)
    yield from _completed(refs, chunk_size, yield_obj_refs, waiting)
