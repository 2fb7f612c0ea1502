"""Actor classes: what `@remote` makes of a class, and `@method`."""

from __future__ import annotations

import os
from types import FunctionType

from manta.api.functions import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, code_flags
from manta.client import current
from manta.client.signatures import UNKNOWN, checker_of_text, text_of
from manta.core import errors
from manta.core.generics import Class_co, Generic, P, T, overload
from manta.core.options import actor_options, method_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    from manta.client.handles import ActorHandle
    from manta.client.session import Session
    from manta.core.options import ActorOptions
    from manta.rpc.v1 import channel_pb2 as pb
    from manta.rpc.v1 import control_pb2 as ctl
    from manta.serde import FunctionBlob

    F = TypeVar("F", bound=Callable[..., Any])

#: Where `@method` leaves its options on a function.
METHOD_OPTIONS = "__manta_method_options__"


@overload
def method(function: F, /) -> F: ...
@overload
def method(**options: Any) -> Callable[[F], F]: ...
def method(*args: Any, **options: Any) -> Any:
    """Set options of one actor method: `@method(num_returns=2)`.

    Args:
        args: The method itself, when used bare; that changes nothing.
        options: num_returns, concurrency_group, max_task_retries, retry_exceptions, enable_task_events,
            _generator_backpressure_num_objects.
    Raises:
        AssertionError: An option is unknown; names the valid ones.
    """
    if len(args) == 1 and not options and callable(args[0]):
        return args[0]
    if args:
        raise AssertionError(
            "The @ray.method decorator takes keyword arguments only, for example '@ray.method(num_returns=2)'."
        )
    method_options(options, is_generator=True)

    def decorate(function: F) -> F:
        setattr(function, METHOD_OPTIONS, dict(options))
        return function

    return decorate


class ActorClass(Generic[Class_co]):
    """A class whose instances live in processes of their own: `Class.remote(...)` creates one and returns its handle."""

    def __init__(self, actual: type[Any], given: Mapping[str, Any]) -> None:
        self._class = actual
        self._given = given
        self._methods = _methods_of(actual)
        self._is_async = any(
            code_flags(function) & (CO_COROUTINE | CO_ASYNC_GENERATOR) for function in self._methods.values()
        )
        self._options: ActorOptions = actor_options(given, is_async=self._is_async)
        self._name = actual.__name__
        self._session: Session | None = None
        self._blob: FunctionBlob | None = None
        self._table: pb.MethodTable | None = None
        self._check: Callable[..., None] | None = None
        self.__module__ = actual.__module__
        self.__name__ = actual.__name__
        self.__qualname__ = actual.__qualname__
        self.__doc__ = actual.__doc__

    def __init_subclass__(cls, **keywords: Any) -> None:
        raise _inherits(cls.__name__)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        raise _inherits(self._name)

    if not TYPE_CHECKING:  # to type checkers it is not callable at all

        def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - never returns
            raise TypeError(
                f"Actors cannot be instantiated directly. Instead of '{self._name}()', use '{self._name}.remote()'."
            )

    def __getattr__(self, name: str) -> Any:
        # Class attributes and static methods are useful on the caller's side too.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._class, name)

    def remote(self: ActorClass[Callable[P, T]], *args: P.args, **kwargs: P.kwargs) -> ActorHandle[T]:
        """Create an actor. Returns its handle at once; its constructor runs elsewhere."""
        return self._create(self._options, args, kwargs)

    def _remote(self, args: Any = (), kwargs: Any = None, **options: Any) -> ActorHandle[Any]:
        chosen = actor_options(self._given, over=options, is_async=self._is_async)
        return self._create(chosen, tuple(args or ()), dict(kwargs or {}))

    def options(self, **options: Any) -> OptionedActorClass[Class_co]:
        """The same class with other options, for actors created through what this returns."""
        return OptionedActorClass(self, actor_options(self._given, over=options, is_async=self._is_async))

    def _bind(self) -> Session:
        session = current.require()
        if session is not self._session:
            self._session = session
            self._blob = None
            self._table = None
        return session

    def _prepare(self) -> tuple[FunctionBlob, pb.MethodTable]:
        from manta.rpc.v1 import channel_pb2 as pb
        from manta.serde import dump_function, serialize, to_bytes

        if self._blob is None or self._table is None:
            self._blob = dump_function(self._class)
            table = pb.MethodTable(
                class_name=self._name, module=self._class.__module__, is_async=self._is_async, max_pending_calls=-1
            )
            for name, function in self._methods.items():
                options = method_options(
                    getattr(function, METHOD_OPTIONS, {}),
                    is_generator=bool(code_flags(function) & (CO_GENERATOR | CO_ASYNC_GENERATOR)),
                )
                entry = table.methods.add(
                    name=name,
                    num_returns=options.num_returns,
                    signature=_signature(self._class, name, function),
                    concurrency_group=options.concurrency_group or "",
                    retry_any=options.retry_exceptions and not options.retry_on,
                )
                if options.concurrency_group and options.concurrency_group not in dict(
                    self._options.concurrency_groups
                ):
                    known = ", ".join(name for name, _ in self._options.concurrency_groups) or "none"
                    raise ValueError(
                        f"{self._name}.{name} belongs to concurrency group {options.concurrency_group!r}, which the class does "
                        f"not have; it has {known}. Say @ray.remote(concurrency_groups={{{options.concurrency_group!r}: 1}})."
                    )
                if options.max_task_retries is not None:
                    entry.max_task_retries = options.max_task_retries
                if options.retry_on:
                    entry.retry_exceptions = to_bytes(serialize(options.retry_on))
            self._table = table
        return self._blob, self._table

    def _create(self, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorHandle[Any]:
        from manta.api.templates import environment_bytes
        from manta.core.bundles import in_group
        from manta.core.ids import creation_task_id
        from manta.core.strategy import ANYWHERE
        from manta.rpc.v1 import channel_pb2 as pb
        from manta.rpc.v1 import control_pb2 as ctl
        from manta.transport.convert import resources_to_proto, strategy_to_proto

        session = self._bind()
        session.check()
        if self._check is None:
            init: Any = self._class.__init__
            make: Any = self._class.__new__
            text = text_of(init, skip_first=True) if isinstance(init, FunctionType) else UNKNOWN
            if init is object.__init__ and make is object.__new__:
                text = ""  # takes nothing
            self._check = checker_of_text("__init__", text)
        self._check(*args, **kwargs)
        blob, table = self._prepare()
        mine = pb.MethodTable()
        mine.CopyFrom(table)
        mine.max_task_retries = options.max_task_retries
        mine.max_pending_calls = options.max_pending_calls
        mine.is_async = self._is_async or options.max_concurrency > 1 or options.out_of_order
        actor_id = session.ids.actor()
        namespace = options.namespace or ""
        spec = pb.ActorSpec(
            actor_id=actor_id,
            class_hash=blob.digest,
            class_blob=blob.blob,
            class_name=self._name,
            max_concurrency=options.max_concurrency,
            concurrency_groups=dict(options.concurrency_groups),
            name=options.name or "",
            namespace=namespace,
            job_id=session.welcome.job_id,
            methods=mine.SerializeToString(),
            is_async=self._is_async,
            detached=options.detached,
            max_restarts=options.max_restarts,
            max_task_retries=options.max_task_retries,
            allow_out_of_order=options.out_of_order,
            creation_task_id=creation_task_id(actor_id),
            captures=options.captures,
        )
        place, hold = options.placement.amounts(), options.resources.amounts()
        if not options.own_place and session.is_worker:
            from manta.client.capturing import captured_group

            group = captured_group(session)
            if group:
                place, hold = in_group(place, group, -1), in_group(hold, group, -1)
                spec.captures = group
        request = ctl.CreateActorRequest(
            request_id=os.urandom(16),
            actor_id=actor_id,
            job_id=session.welcome.job_id,
            handle=spec.methods,
            name=options.name or "",
            namespace=namespace,
            detached=options.detached,
            get_if_exists=options.get_if_exists,
            place=resources_to_proto(place),
            hold=resources_to_proto(hold),
            max_restarts=options.max_restarts,
            env_hash=environment_bytes(session, options.env_vars),
            class_name=self._name,
        )
        if options.strategy != ANYWHERE:
            request.strategy.CopyFrom(strategy_to_proto(options.strategy))
        if options.detached and request.env_hash:
            return _create_with_folders(session, request, spec, mine, args, kwargs)
        return session.create_actor(request, spec, mine, args, kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorClass, (self._class, dict(self._given))

    def __repr__(self) -> str:
        return f"ActorClass({self._name})"


def _create_with_folders(
    session: Session,
    request: ctl.CreateActorRequest,
    spec: pb.ActorSpec,
    table: pb.MethodTable,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> ActorHandle[Any]:
    """Create an actor that outlives its owner, and may have folders that have to, too."""
    from manta.api.uploads import forget_kept, kept

    environment = request.env_hash
    request.env_hash, request.piece_hashes[:] = kept(session, environment)
    try:
        return session.create_actor(request, spec, table, args, kwargs)
    except errors.MantaError as refused:
        if refused.code != "FUNCTION_NOT_FOUND":
            raise
    forget_kept(session)
    request.env_hash, request.piece_hashes[:] = kept(session, environment)
    return session.create_actor(request, spec, table, args, kwargs)


class OptionedActorClass(Generic[Class_co]):
    """An actor class with options of its own: only to create actors."""

    def __init__(self, actor_class: ActorClass[Class_co], options: ActorOptions) -> None:
        self._actor_class = actor_class
        self._options = options

    def remote(self: OptionedActorClass[Callable[P, T]], *args: P.args, **kwargs: P.kwargs) -> ActorHandle[T]:
        """Create an actor; see `ActorClass.remote`."""
        return self._actor_class._create(self._options, args, kwargs)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """The handle of a named actor. It does not keep the actor alive.

    Args:
        name: Its name.
        namespace: Where the name is; None is this job's namespace.
    Raises:
        ValueError: There is no living actor of that name.
    """
    from manta.client.handles import handle_of
    from manta.rpc.v1 import control_pb2 as ctl

    if not isinstance(name, str) or not name:  # type: ignore[redundant-expr]  # from users
        raise ValueError("Please supply a non-empty value to get_actor")
    if namespace is not None and (not isinstance(namespace, str) or not namespace):  # type: ignore[redundant-expr]
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    session = current.require()
    where = namespace or session.welcome.namespace
    try:
        answer = session.control(
            "GetNamedActor", ctl.GetNamedActorRequest(name=name, namespace=where), ctl.GetNamedActorResponse
        )
    except errors.MantaError as missing:
        if missing.code != "ACTOR_NOT_FOUND":
            raise
        raise ValueError(
            f"Failed to look up actor with name '{name}'. This could because 1. You are trying to look up a named actor "
            "you didn't create. 2. The named actor died. 3. You did not use a namespace matching the namespace of the "
            f"actor. (The namespace looked in was '{where}'.)"
        ) from None
    return handle_of(answer.actor)


def exit_actor() -> None:
    """End the actor this runs in, on purpose. Calls that wait fail; exit handlers run.

    Raises:
        TypeError: This is no actor.
    """
    session = current.session
    if session is None or session.actor_host is None:
        raise TypeError("exit_actor API is called on a non-actor worker; it can only be called inside an actor.")
    raise session.actor_exit(0)


def _methods_of(actual: type) -> dict[str, Any]:
    """Functions of a class that can be called remotely, by name."""
    found: dict[str, Any] = {}
    for base in reversed(actual.__mro__):
        if base is object:
            continue
        for name, value in vars(base).items():
            function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            if isinstance(function, FunctionType) or (hasattr(function, "__wrapped__") and callable(function)):
                found[name] = function
            else:
                found.pop(name, None)
    return found


def _signature(actual: type, name: str, function: Any) -> str:
    kind = next((vars(base)[name] for base in actual.__mro__ if name in vars(base)), None)
    return text_of(function, skip_first=not isinstance(kind, staticmethod))


class ActorClassInheritanceException(TypeError):
    """An actor class was made the base of another class."""


def _inherits(name: str) -> Exception:
    return ActorClassInheritanceException(
        f"Attempted to define subclass of actor class '{name}'. Inheriting from actor classes is not currently supported. "
        f"You can instead inherit from a non-actor base class and make the derived class an actor class (with @ray.remote)."
    )
