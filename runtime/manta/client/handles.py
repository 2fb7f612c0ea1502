"""Actor handles: what user code holds and calls methods on."""

from __future__ import annotations

from types import GenericAlias

from manta.client import current
from manta.client.actor_client import gone, handle_id
from manta.client.refs import released
from manta.client.signatures import checker_of_text
from manta.core.generics import Generic, T_co
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manta.client.actor_client import ActorClient
    from manta.client.templates import Template
    from manta.rpc.v1 import control_pb2 as ctl

#: Methods every actor has.
BUILT_IN = ("__ray_ready__", "__ray_terminate__", "__ray_call__")


class ActorHandle(Generic[T_co]):
    """A handle of an actor: `handle.method.remote(...)` calls it.

    Handles can be passed to tasks and other actors. The actor lives as long as one does, unless it is detached, or this handle
    came from `get_actor`.
    """

    __slots__ = (
        "_actor_id",
        "_client",
        "_counted",
        "_methods",
        "_options",
        "_owner",
        "_session",
        "_table",
        "_templates",
    )

    def __init__(
        self,
        actor_id: bytes,
        table: pb.MethodTable,
        owner: bytes,
        *,
        counted: bool,
        options: dict[str, Any] | None = None,
    ) -> None:
        session = current.require()
        self._actor_id = actor_id
        self._table = table
        self._owner = owner
        #: It keeps the actor alive.
        self._counted = counted
        self._methods = {method.name: method for method in table.methods}
        self._session = session
        self._templates: dict[Any, Template] = {}
        self._options = options
        with session.lock:
            client: ActorClient = session.know_actor(
                actor_id, table.class_name, counted=counted, ordered=not table.is_async
            )
            client.max_pending = table.max_pending_calls
        self._client = client

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(GenericAlias)

    def __getattr__(self, name: str) -> ActorMethod:
        if name in self._methods or name in BUILT_IN:
            return ActorMethod(self, name)
        raise AttributeError(
            f"'{self._table.class_name}' object has no attribute '{name}'. The actor's methods are: "
            f"{', '.join(sorted(self._methods)) or 'none'}"
        )

    def __dir__(self) -> list[str]:
        return [*self._methods, *BUILT_IN]

    def __repr__(self) -> str:
        return f"Actor({self._table.class_name}, {self._actor_id.hex()})"

    def __hash__(self) -> int:
        return hash(self._actor_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and other._actor_id == self._actor_id

    def __del__(
        self,
        append: Callable[[bytes], None] = released.append,
        append_client: Callable[[ActorClient], None] = gone.append,
    ) -> None:
        try:
            append_client(self._client)
            if self._counted:
                append(self._client.handle)
        except AttributeError:
            pass

    @property
    def _ray_actor_id(self) -> Any:
        from manta.core.ids import ActorID

        return ActorID(self._actor_id)

    @property
    def _actor_id_hex(self) -> str:
        return self._actor_id.hex()

    def __reduce__(self) -> tuple[Any, ...]:
        # Plain pickle, outside of what Manta carries: the actor is kept for the life of this process.
        if self._counted:
            self._session.export_ref(self._client.handle, forever=True)
        return reduce_handle(self)

    def check_session(self) -> None:
        """Raise unless the handle is of the present session.

        Raises:
            ForkedProcessError: This process was forked from the one that has it.
            ActorHandleNotFoundError: The handle is of an earlier cluster.
        """
        session = self._session
        if session is current.session:
            return
        from manta.core.errors import ActorHandleNotFoundError, ForkedProcessError

        if isinstance(session.broken, ForkedProcessError):
            raise session.broken
        raise ActorHandleNotFoundError(
            f"{self!r} belongs to an earlier cluster; create the actor again or get it by name"
        )

    def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any] | None) -> Any:
        session = self._session
        if session is not current.session:
            self.check_session()
        template = self._templates.get(name) if options is None else None
        if template is None:
            template = self._template(name, options)
        method = self._methods.get(name)
        if method is not None and method.signature != "?":
            checker_of_text(method.name, method.signature)(*args, **kwargs)
        return session.call_actor(self._client, template, args, kwargs)

    def _template(self, name: str, options: dict[str, Any] | None) -> Template:
        method = self._methods.get(name)
        options = options or {}
        num_returns = method.num_returns if method is not None else 1
        given = options.get("num_returns")
        if given is not None:
            num_returns = -1 if given in ("streaming", "dynamic") else given
        retries = options.get("max_task_retries")
        if retries is None:
            retries = (
                method.max_task_retries
                if method is not None and method.HasField("max_task_retries")
                else (self._table.max_task_retries)
            )
        definition = pb.DefineTemplate(
            name=options.get("name") or f"{self._table.class_name}.{name}",
            method=name,
            num_returns=num_returns,
            concurrency_group=options.get("concurrency_group") or (method.concurrency_group if method else ""),
            flush_first=False,
        )
        retry = options.get("retry_exceptions")
        if retry is None and method is not None:
            definition.retry_any = method.retry_any
            definition.retry_exceptions = method.retry_exceptions
        elif retry is True or retry == []:
            definition.retry_any = True
        elif retry:
            definition.retry_exceptions = self._session.dump(tuple(retry))
        backpressure = options.get("_generator_backpressure_num_objects")
        if backpressure and backpressure > 0:
            definition.backpressure = backpressure
        template = self._session.method_template(definition, max_retries=retries)
        if not options:
            self._templates[name] = template
        return template


class ActorMethod:
    """One method of an actor: `.remote(...)` calls it, `.options(...)` changes how."""

    __slots__ = ("_handle", "_name", "_options")

    def __init__(self, handle: ActorHandle[Any], name: str, options: dict[str, Any] | None = None) -> None:
        self._handle = handle
        self._name = name
        self._options = options

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; returns at once with the ref of its result."""
        return self._handle._call(self._name, args, kwargs, self._options)

    def _remote(self, args: Any = (), kwargs: Any = None, **options: Any) -> Any:
        return self.options(**options).remote(*args, **(kwargs or {}))

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options."""
        from manta.core.options import method_options

        merged = {**(self._options or {}), **options}
        generator = self._handle._methods.get(self._name)
        method_options(over=merged, is_generator=generator is not None and generator.num_returns == -1)
        return ActorMethod(self._handle, self._name, merged)

    if not TYPE_CHECKING:  # to type checkers it is not callable at all

        def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - never returns
            raise TypeError(
                f"Actor methods cannot be called directly. Instead of running 'object.{self._name}()', "
                f"try 'object.{self._name}.remote()'."
            )

    def __repr__(self) -> str:
        return f"ActorMethod({self._handle!r}.{self._name})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorMethod, (self._handle, self._name, self._options)


def reduce_handle(handle: ActorHandle[Any]) -> tuple[Any, ...]:
    """How a handle is written; whoever carries it counts it."""
    return rebuild_handle, (handle._actor_id, handle._table.SerializeToString(), handle._owner, handle._counted)


def rebuild_handle(actor_id: bytes, table: bytes, owner: bytes, counted: bool) -> ActorHandle[Any]:
    """A handle out of a pickle."""
    if counted:
        current.require().ref_received(handle_id(actor_id), owner)
    return ActorHandle(actor_id, pb.MethodTable.FromString(table), owner, counted=counted)


def handle_of(info: ctl.ActorInfo) -> ActorHandle[Any]:
    """A handle of an actor that control knows; it does not keep the actor alive."""
    table = pb.MethodTable.FromString(info.handle)
    return ActorHandle(info.actor_id, table, info.owner.SerializeToString(deterministic=True), counted=False)
