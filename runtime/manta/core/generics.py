"""What declarations take from `typing` and its like, without importing it: that would cost `import manta` 8 ms, and `re` with it.

Type checkers see the real things. At run time `Generic[...]` adds no base, `@overload` forgets what it decorates (annotations
are text there, so nothing is evaluated), and type variables are names of nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any, Generic, ParamSpec, TypeVar, overload

    __all__ = ["Awaitable", "Class", "Class_co", "FitsAnywhere", "Generic", "Made_co", "P", "T", "T_co", "overload"]

    #: Parameters of a user's function or constructor.
    P = ParamSpec("P")
    T = TypeVar("T")
    T_co = TypeVar("T_co", covariant=True)
    #: A user's class: `type[Counter]`. `type[T]` would lose what its constructor takes.
    Class = TypeVar("Class", bound=type)
    Class_co = TypeVar("Class_co", covariant=True)
    #: What `.remote(...)` returns: a ref, a generator of refs, or whatever `num_returns` makes of it.
    Made_co = TypeVar("Made_co", covariant=True)

    class FitsAnywhere(Any):  # type: ignore[misc]  # the very point of it
        """Base of what may stand for a value of any type."""

else:

    class _NoBase:
        """A base class that leaves no trace."""

        __slots__ = ()

        def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
            return ()

        def __getitem__(self, parameters: Any) -> _NoBase:
            return self

    Awaitable = Generic = FitsAnywhere = _NoBase()
    P = T = T_co = Class = Class_co = Made_co = None

    def overload(function: Any) -> None:
        """Forget a declaration that only type checkers read."""
