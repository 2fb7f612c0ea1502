"""`@remote`."""

from __future__ import annotations

from manta.api.actor_classes import ActorClass
from manta.api.functions import RemoteFunction
from manta.core.generics import Class, P, T, overload
from manta.core.options import REMOTE_MISUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from manta.client.refs import ObjectRef

    class _Decorator(Protocol):
        @overload
        def __call__(self, target: Class, /) -> ActorClass[Class]: ...  # type: ignore[overload-overlap]
        @overload
        def __call__(self, target: Callable[P, T], /) -> RemoteFunction[P, ObjectRef[T]]: ...

    class _FunctionDecorator(Protocol):
        def __call__(self, target: Callable[P, Any], /) -> RemoteFunction[P, Any]: ...


@overload
def remote(target: Class, /) -> ActorClass[Class]: ...  # type: ignore[overload-overlap]
@overload
def remote(target: Callable[P, T], /) -> RemoteFunction[P, ObjectRef[T]]: ...
@overload
def remote(*, num_returns: Any, **options: Any) -> _FunctionDecorator: ...
@overload
def remote(**options: Any) -> _Decorator: ...
def remote(*args: Any, **options: Any) -> Any:
    """Make a function or class remote: bare, `@remote`, or with options, `@remote(num_cpus=2)`.

    Raises:
        TypeError: What it decorates is neither a function nor a class.
        ValueError: An option is unknown or has a bad value.
        AssertionError: Neither form was used.
    """
    if len(args) == 1 and not options and callable(args[0]):
        return _make(args[0], {})
    if args and not options and len(args) == 1 and not callable(args[0]):
        raise TypeError("The @ray.remote decorator must be applied to either a function or a class.")
    if args or not options:
        raise AssertionError(REMOTE_MISUSE)
    from manta.core.options import table

    table.check_known(options, {**table.TASK, **table.ACTOR}, "@ray.remote")

    def decorate(target: Any) -> Any:
        return _make(target, options)

    return decorate


def _make(target: Any, options: dict[str, Any]) -> Any:
    if isinstance(target, type):
        return ActorClass(target, options)
    if isinstance(target, (RemoteFunction, ActorClass)):
        raise TypeError(f"{target!r} is remote already; @ray.remote is applied once, to a function or class.")
    if callable(target) and hasattr(target, "__name__"):
        return RemoteFunction(target, options)
    raise TypeError("The @ray.remote decorator must be applied to either a function or a class.")
