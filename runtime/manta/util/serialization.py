"""What users may ask of serialization: why something can't be pickled, and how a type of theirs should be."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

#: Types the C pickler writes itself, without asking anybody: a serializer for one of them would never be called.
_WRITTEN_IN_C = (type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict, set, frozenset)

_LINE = "=" * 80

#: Registered classes, each with cloudpickle's own reducer for it, if it had one.
_before: dict[type, Any] = {}


class FailureTuple:
    """A part of an object that can't be pickled.

    Attributes:
        obj: The part.
        name: What it is called where it is used: a variable, an attribute, a key.
        parent: What directly holds it.
    """

    __slots__ = ("name", "obj", "parent")

    def __init__(self, obj: Any, name: str, parent: Any) -> None:
        self.obj = obj
        self.name = name
        self.parent = parent

    def __repr__(self) -> str:
        return f"FailTuple({self.name} [obj={_shown(self.obj)}, parent={_shown(self.parent)}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Find out what keeps an object from being sent to a task or actor, and print it.

    Args:
        base_obj: The object.
        name: What to call it; its own name by default.
        depth: How many levels of captured variables, attributes and items to go down.
        print_file: Where to print; standard output by default.

    Returns:
        Whether it can be pickled, and the innermost parts found that can't.
    """
    from manta.serde.culprit import error_text, failure_of

    out = print_file or sys.stdout
    shown = name or str(getattr(base_obj, "__name__", type(base_obj).__name__))
    out.write(f"{_LINE}\nChecking Serializability of {_shown(base_obj)}\n{_LINE}\n")
    error = failure_of(base_obj)
    if error is None:
        return True, set()
    out.write(f"!!! FAIL serialization: {error_text(error)}\n")
    failures: list[FailureTuple] = []
    _search(base_obj, depth, 1, failures, {id(base_obj)}, out)
    found = failures or [FailureTuple(base_obj, shown, None)]
    listed = "\n".join(f"\t{failure}" for failure in found)
    out.write(
        f"{_LINE}\nVariable: \n\n{listed}\n\n"
        "was found to be non-serializable. There may be multiple other undetected variables that were non-serializable. \n"
        "Consider either removing the instantiation/imports of these variables or moving the instantiation into the scope "
        f"of the function/class. \n{_LINE}\n"
    )
    return False, set(found)


def register_serializer(cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> None:
    """Say how instances of a class are pickled, in this process: in arguments, results and puts.

    Args:
        cls: The class. Exactly this one: its subclasses are pickled as before.
        serializer: Called with an instance; returns something that can be pickled.
        deserializer: Called with that, where the value is read; returns the instance. It travels along, so the reader need
            not have registered anything.

    Raises:
        TypeError: `cls` is no class, or one of the builtin types that pickle writes by itself.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer expects a class, got a {type(cls).__name__}: {_shown(cls)}")
    if cls in _WRITTEN_IN_C or issubclass(cls, type):
        raise TypeError(f"{cls.__name__} has a fixed form in pickle; register a class of your own that wraps it")

    def reduce(obj: Any) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return deserializer, (serializer(obj),)

    reducers = _reducers()
    _before.setdefault(cls, reducers.get(cls))
    reducers[cls] = reduce


def deregister_serializer(cls: type) -> None:
    """Forget what `register_serializer` was told about a class; nothing happens if it was told nothing."""
    if cls not in _before:
        return
    before = _before.pop(cls)
    if before is None:
        del _reducers()[cls]
    else:
        _reducers()[cls] = before


def _reducers() -> dict[type, Any]:
    # cloudpickle's own registry, which serde's pickler reads as well: plain cloudpickle.dumps then agrees with us.
    from manta.serde.pickler import load_cloudpickle

    return load_cloudpickle()


def _search(obj: Any, depth: int, level: int, failures: list[FailureTuple], seen: set[int], out: TextIO) -> bool:
    """Go into the parts of an object that fails; True if one of them is to blame."""
    from manta.serde.culprit import error_text, failing_parts

    if level > depth:
        return False
    indent = "    " * level
    parts = failing_parts(obj)
    for part, child, error in parts:
        if id(child) in seen:
            continue
        seen.add(id(child))
        out.write(
            f"{indent}Serializing {part} {_shown(child)}...\n{indent}!!! FAIL serialization: {error_text(error)}\n"
        )
        if not _search(child, depth, level + 1, failures, seen, out):
            failures.append(FailureTuple(child, _bare(part), obj))
    return bool(parts)


def _bare(part: str) -> str:
    """The variable's own name in "captured variable 'lock'", the attribute's in ".lock"."""
    return part.rpartition(" ")[2].strip("'") if " '" in part else part.lstrip(".")


def _shown(obj: Any) -> str:
    try:
        return repr(obj)
    except Exception:  # noqa: BLE001 - user code
        return f"<{type(obj).__name__}>"
