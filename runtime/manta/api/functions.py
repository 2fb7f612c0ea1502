"""Remote functions: what `@remote` makes of a function."""

from __future__ import annotations

import os

from manta.client import current
from manta.client.signatures import checker_of_text, text_of
from manta.core.generics import Generic, Made_co, P, overload
from manta.core.options import task_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from manta.client.session import Session
    from manta.client.templates import Template
    from manta.core.options import TaskOptions

#: The environment as the C library keeps it: looked at for every call, ten times cheaper than `os.environ`.
_raw_environ: Mapping[bytes, bytes] = getattr(os.environ, "_data", {})

_RETRIES, _RETRIES_RAY = b"MANTA_TASK_MAX_RETRIES", b"RAY_TASK_MAX_RETRIES"

CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200


def code_flags(function: Any) -> int:
    """The kind of a function, as CPython's code flags; 0 for what has no code."""
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return 0 if code is None else int(code.co_flags)


class RemoteFunction(Generic[P, Made_co]):
    """A function that runs elsewhere: `f.remote(...)` returns at once with the ref of its result."""

    def __init__(self, function: Callable[P, Any], given: Mapping[str, Any]) -> None:
        self._function = function
        self._given = given
        flags = code_flags(function)
        if flags & (CO_COROUTINE | CO_ASYNC_GENERATOR):
            raise ValueError(
                "'async def' should not be used for remote tasks. You can wrap the async function with "
                "`asyncio.run(f())`, or use an async actor."
            )
        self._is_generator = bool(flags & CO_GENERATOR)
        self._options: TaskOptions = task_options(given, is_generator=self._is_generator)
        self._name = str(getattr(function, "__name__", None) or repr(function))
        self._text: str | None = None
        self._check: Callable[..., None] | None = None
        self._session: Session | None = None
        self._blob: Any = None
        self._templates: dict[Any, Template] = {}
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            try:
                setattr(self, name, getattr(function, name))
            except AttributeError:
                pass
        self.__wrapped__ = function

    if not TYPE_CHECKING:  # to type checkers it is not callable at all

        def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - never returns
            raise TypeError(
                f"Remote functions cannot be called directly. Instead of running '{self._name}()', "
                f"try '{self._name}.remote()'."
            )

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> Made_co:
        """Run the function somewhere in the cluster.

        Args:
            args: Its arguments. Refs among them are replaced by their values; refs inside of containers stay refs.
            kwargs: Likewise.
        Returns:
            A ref of the result; a list of refs for `num_returns` > 1, None for 0, an `ObjectRefGenerator` for generators.
        Raises:
            TypeError: The arguments do not fit the signature, or cannot be pickled.
        """
        session = current.session
        if session is None or session is not self._session:
            session = self._bind()
        check = self._check
        if check is not None:
            check(*args, **kwargs)
        template = self._templates.get(None)
        if template is None or (
            self._options.max_retries is None and (_RETRIES in _raw_environ or _RETRIES_RAY in _raw_environ)
        ):
            template = self._template(self._options)
        return session.submit(template, args, kwargs)  # type: ignore[no-any-return]

    def _remote(self, args: Any = (), kwargs: Any = None, **options: Any) -> Any:
        return self.options(**options).remote(*(args or ()), **(kwargs or {}))

    @overload
    def options(self, *, num_returns: Any, **options: Any) -> OptionedFunction[P, Any]: ...
    @overload
    def options(self, **options: Any) -> OptionedFunction[P, Made_co]: ...
    def options(self, **options: Any) -> OptionedFunction[P, Any]:
        """The same function with other options, for calls through what this returns."""
        return OptionedFunction(self, task_options(self._given, over=options, is_generator=self._is_generator))

    def _bind(self) -> Session:
        """Forget what an earlier cluster knew of this function."""
        session = current.require()
        if session is not self._session:
            self._session = session
            self._templates = {}
            self._blob = None
        if self._check is None:
            self._text = text_of(self._function)
            self._check = checker_of_text(getattr(self._function, "__name__", "function"), self._text)
        return session

    def _call(self, options: TaskOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session = current.session
        if session is None or session is not self._session:
            session = self._bind()
        if self._check is not None:
            self._check(*args, **kwargs)
        return session.submit(self._template(options), args, kwargs)

    def _template(self, options: TaskOptions) -> Template:
        """The template of these options in the present session."""
        from manta.api.templates import task_template

        session = self._session
        assert session is not None
        retries = options.max_retries
        if retries is None:
            from manta.core.environment import default_max_retries

            retries = default_max_retries()
        default = options is self._options
        key = (None if default else id(options), retries)
        template = self._templates.get(key)
        if template is None:
            if self._blob is None:
                from manta.serde import dump_function

                self._blob = dump_function(self._function)
            template = task_template(session, self._blob, options.name or self._name, options, retries)
            if default:
                self._templates[key] = template
                if options.max_retries is not None or not _retries_said():
                    self._templates[None] = template
        return template

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFunction, (self._function, dict(self._given))

    def __repr__(self) -> str:
        return f"<remote function {self._name}>"


class OptionedFunction(Generic[P, Made_co]):
    """A remote function with options of its own: only to be called."""

    def __init__(self, function: RemoteFunction[P, Any], options: TaskOptions) -> None:
        self._remote_function = function
        self._options = options

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> Made_co:
        """Run the function; see `RemoteFunction.remote`."""
        return self._remote_function._call(self._options, args, kwargs)  # type: ignore[no-any-return]


def _retries_said() -> bool:
    """Whether the environment says how often tasks are retried."""
    return _RETRIES in _raw_environ or _RETRIES_RAY in _raw_environ
