"""Errors that are two things at once: a `RayTaskError` and what user code raised.

The class is made when it is needed, with bases (RayTaskError, <class of the cause>), so that `except ValueError` and
`except RayTaskError` both catch it. An instance shows the remote traceback, and otherwise behaves like its cause:

- state that lives in C structures (`OSError.errno`, `StopIteration.value`, ...) and in slots is copied, since class
  attributes are found before any forwarding could happen;
- the cause's `__dict__` is copied, for the same reason;
- names that `RayTaskError` has but the cause's class has too (`code`, ...) mean the cause's;
- everything else is forwarded by `__getattr__`.
"""

from __future__ import annotations

from manta.core.errors.base import MantaError, class_name, message_of
from manta.core.errors.task import RayTaskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any

#: Classes whose instances steer the interpreter or an event loop. An error that is one of them would end a program or
#: a coroutine that merely asked for a result.
_STEERING = (
    "builtins.KeyboardInterrupt",
    "builtins.SystemExit",
    "builtins.GeneratorExit",
    "asyncio.exceptions.CancelledError",
)

#: A class's flag "made by a class statement", from CPython's object.h.
_HEAP_TYPE = 1 << 9

#: Made classes by the id of the cause's class. A made class keeps its base alive, so an id is never another class's
#: while its entry exists; the weak reference lets both go when no error of the kind is left.
_made: MutableMapping[int, type[RayTaskError]] | None = None


def dual_of(error: RayTaskError) -> RayTaskError:
    """The error as an instance of its cause's class too; the error itself, and a warning, where that is impossible."""
    kind = type(error.cause)
    if issubclass(type(error), kind) or _steers(kind):
        return error
    try:
        return make_dual(error)
    except Exception as problem:  # noqa: BLE001 - metaclasses, __init_subclass__ and __new__ of user code
        import logging  # late: 10 ms that only this branch needs

        logging.getLogger("manta").warning(
            "User exception type %s in RayTaskError can't be subclassed! This exception is raised as RayTaskError only. "
            "You can use `ray_task_error.cause` to access the user exception. Failure in subclassing: %s",
            class_name(kind),
            message_of(problem),
        )
        return error


def make_dual(error: RayTaskError) -> RayTaskError:
    """As `dual_of`, raising what user code raises at being subclassed."""
    cause = error.cause
    kind = _dual_class(type(cause))
    new, arguments = _allocation(cause)
    dual: RayTaskError = new(kind, *arguments)
    # Past `__init__`: C constructors fill their structures from the arguments, ours has nothing to do.
    _copy_c_state(cause, dual)
    attributes = dual.__dict__
    attributes.update(getattr(cause, "__dict__", {}))
    attributes.pop("__notes__", None)  # they are in the remote traceback; Python would print them again below it
    attributes["cause"] = cause
    attributes["_ray_task_error"] = error
    attributes["_ray_task_error_args"] = (cause,)
    vars(BaseException)["args"].__set__(dual, (cause,))
    return dual


class _Members:
    """What made classes define themselves, before their bases."""

    def __str__(self) -> str:
        return str(self._ray_task_error)

    def __getattr__(self, name: str) -> Any:
        # Special names are looked up by copy, pickle and traceback, and mean this object or nothing.
        if name[:2] == "__" or name in ("_ray_task_error", "_ray_task_error_args"):
            raise AttributeError(name)
        try:
            return getattr(self.cause, name)
        except AttributeError:
            return getattr(self._ray_task_error, name)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return dual_of, (self._ray_task_error,)

    def __reduce_ex__(self, _protocol: object) -> tuple[Callable[..., object], tuple[object, ...]]:
        return dual_of, (self._ray_task_error,)  # a cause's own way of pickling would make only the cause

    def as_instanceof_cause(self) -> Any:
        return self

    def make_dual_exception_instance(self) -> Any:
        return self

    @property
    def cause(self) -> Any:
        return self.__dict__["cause"]

    @property
    def args(self) -> Any:
        # Shielded: user code may have made `args` read-only or computed.
        return self._ray_task_error_args

    @args.setter
    def args(self, value: object) -> None:
        self.__dict__["_ray_task_error_args"] = value


_MEMBERS = {name: member for name, member in vars(_Members).items() if name not in ("__dict__", "__weakref__")}


def _dual_class(cause_class: type[BaseException]) -> type[RayTaskError]:
    global _made
    if _made is None:
        from weakref import WeakValueDictionary

        _made = WeakValueDictionary()
    made = _made.get(id(cause_class))
    if made is None:
        name = f"RayTaskError({cause_class.__name__})"
        namespace: dict[str, Any] = {
            **_MEMBERS,
            "__module__": RayTaskError.__module__,
            "__qualname__": name,
            "__doc__": f"A remote task raised {class_name(cause_class)}.",
        }
        for member in (*vars(RayTaskError), *vars(MantaError)):
            own = _class_attribute(cause_class, member) if member[:2] != "__" else _MISSING
            if own is not _MISSING:
                namespace.setdefault(member, own)
        made = type(name, (RayTaskError, cause_class), namespace)
        _made[id(cause_class)] = made
    return made


_MISSING = object()


def _class_attribute(kind: type, name: str) -> object:
    """What a class's own MRO says about a name, unbound."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), _MISSING)


def _allocation(cause: BaseException) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The C function that makes room for instances of the cause's class, and its arguments.

    A `__new__` that user code wrote is passed over, as its parameters are anyone's guess.
    """
    if isinstance(cause, BaseExceptionGroup):  # the one that refuses to be made empty
        return BaseExceptionGroup.__new__, (cause.message, cause.exceptions)
    for base in type(cause).__mro__:
        if not base.__flags__ & _HEAP_TYPE and "__new__" in vars(base):
            return vars(base)["__new__"], ()
    raise AssertionError("BaseException has a __new__")


def _copy_c_state(cause: BaseException, dual: RayTaskError) -> None:
    for base in type(cause).__mro__:
        if base is BaseException or not issubclass(base, BaseException):
            continue
        for name, member in vars(base).items():
            if type(member).__name__ not in ("member_descriptor", "getset_descriptor") or name == "__dict__":
                continue
            try:
                member.__set__(dual, member.__get__(cause))
            except (AttributeError, TypeError):  # an empty slot, or one that only C may write
                pass


def _steers(kind: type[BaseException]) -> bool:
    return any(f"{base.__module__}.{base.__qualname__}" in _STEERING for base in kind.__mro__)
