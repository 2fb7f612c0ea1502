"""Checks a call's arguments against a signature at the speed of a call.

`inspect.signature(f).bind(...)` takes several microseconds. Instead a function with the same parameters and an empty body is
made once and called: the interpreter itself checks and words the TypeError.
"""

from __future__ import annotations

from types import FunctionType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Stands for a signature that cannot be known: everything is passed on.
UNKNOWN = "?"

_checkers: dict[tuple[str, str], Callable[..., None]] = {}


def text_of(function: Any, *, skip_first: bool = False) -> str:
    """The parameters of a function as source, defaults replaced by None: "a, /, b=None, *args, c, **kw".

    Args:
        function: A function or method; anything else has an unknown signature.
        skip_first: Leave out `self`.
    Returns:
        The text, or UNKNOWN.
    """
    if isinstance(function, MethodType):
        function, skip_first = function.__func__, True
    seen = 0
    while hasattr(function, "__wrapped__") and seen < 16:
        function = function.__wrapped__
        seen += 1
    if not isinstance(function, FunctionType):
        return UNKNOWN
    code = function.__code__
    names = code.co_varnames
    if not all(name.isidentifier() for name in names[: code.co_argcount + code.co_kwonlyargcount + 2]):
        return UNKNOWN
    positional = list(names[: code.co_argcount])
    first_default = len(positional) - len(function.__defaults__ or ())
    parts = [name if at < first_default else f"{name}=None" for at, name in enumerate(positional)]
    only = code.co_posonlyargcount
    if skip_first:
        if not parts:
            # def method(*args): self is in args
            return UNKNOWN
        parts = parts[1:]
        only = max(0, only - 1)
    if only:
        parts.insert(only, "/")
    at = code.co_argcount
    keyword_only = names[at : at + code.co_kwonlyargcount]
    at += code.co_kwonlyargcount
    if code.co_flags & 0x04:
        parts.append(f"*{names[at]}")
        at += 1
    elif keyword_only:
        parts.append("*")
    defaults = function.__kwdefaults__ or {}
    parts.extend(f"{name}=None" if name in defaults else name for name in keyword_only)
    if code.co_flags & 0x08:
        parts.append(f"**{names[at]}")
    return ", ".join(parts)


def checker_of_text(name: str, text: str) -> Callable[..., None]:
    """A function that raises the interpreter's own TypeError when arguments do not fit."""
    checker = _checkers.get((name, text))
    if checker is None:
        checker = _checkers[name, text] = _make(name, text)
    return checker


def _make(name: str, text: str) -> Callable[..., None]:
    allowed = set("=*/, ")
    if text == UNKNOWN or not all(char in allowed or char.isidentifier() or char.isdigit() for char in text):
        return _anything
    safe = name if name.isidentifier() else "function"
    namespace: dict[str, Any] = {}
    try:
        exec(compile(f"def {safe}({text}): pass", "<signature>", "exec"), namespace)  # noqa: S102 - only names, see above
    except SyntaxError:
        return _anything
    made: Callable[..., None] = namespace[safe]
    return made


def _anything(*args: Any, **kwargs: Any) -> None:
    """Every call fits."""
