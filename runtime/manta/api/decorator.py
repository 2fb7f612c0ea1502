"""`@remote`."""

from __future__ import annotations

from manta.api.actor_classes import ActorClass
from manta.api.functions import RemoteFunction
from manta.core.options import REMOTE_MISUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar, overload

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T")

    @overload
    def remote(__target: type[T]) -> ActorClass[T]: ...
    @overload
    def remote(__target: Callable[P, R]) -> RemoteFunction[P, R]: ...
    @overload
    def remote(**options: Any) -> Callable[[Any], Any]: ...


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
    assert not args and options, REMOTE_MISUSE
    from manta.core.options import table

    table.check_known({name: value for name, value in options.items()}, {**table.TASK, **table.ACTOR}, "@ray.remote")

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
