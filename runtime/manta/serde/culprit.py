"""Finds the part of a value that can't be pickled, and says where it is: "argument 'model' -> .encoder -> ['lock']".

The walk follows what pickle itself would follow (`__reduce_ex__`, captured variables, globals a function reads), tries each
part alone and goes into the first one that fails. It runs after a failure only, works within a budget of trials, bytes and
depth, and never raises: at worst the path ends early.
"""

from __future__ import annotations

import sys
from _pickle import Pickler
from copyreg import dispatch_table
from functools import partial
from itertools import islice
from types import CellType, CodeType, FunctionType, MethodType

from manta.core.errors import SerializationError
from manta.core.errors.base import class_name, message_of
from manta.serde.pickler import (
    PROTOCOL,
    LimitExceededError,
    Sink,
    ValuePickler,
    hooked_types,
    load_cloudpickle,
    size_of_part,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    Part = tuple[str, Any]  # what the part is called, the part

#: Values pickled on trial during one walk. A level of n parts takes about log2(n) of them.
MAX_TRIALS = 400
#: Stream bytes written on trial during one walk, about a second of pickling. A trial that passes it counts as fine.
MAX_TRIAL_BYTES = 256 << 20
#: Levels the walk goes down.
MAX_DEPTH = 40
#: Parts of one object that are looked at.
MAX_PARTS = 100_000
#: Longest text of one key or error taken over into a message.
MAX_TEXT = 200


class Culprit:
    """The innermost part found that can't be pickled."""

    __slots__ = ("error", "obj", "parent", "path")

    def __init__(self, obj: Any, parent: Any, path: Sequence[str], error: BaseException) -> None:
        #: the part itself, and what directly holds it (None if it is the value itself)
        self.obj, self.parent = obj, parent
        #: names of the parts that lead to it, outermost first
        self.path = path
        #: what pickle said about it
        self.error = error


def serialization_error(
    value: Any, error: BaseException, what: str, parameters: Sequence[str] | None = None
) -> SerializationError:
    """The error to raise for a value that `serialize` failed on with `error`.

    Args:
        value: What was pickled.
        error: What pickle raised.
        what: What the value is to the user; the path starts with it.
        parameters: Names of positional parameters if the value is the `(args, kwargs)` of a call.
    """
    if isinstance(error, LimitExceededError):
        return SerializationError(_largest(value, what, parameters), f"it is too large: {error}")
    if isinstance(error, RecursionError):
        limit = sys.getrecursionlimit()
        return SerializationError(
            what,
            f"it is nested too deeply to pickle with a recursion limit of {limit}; "
            "flatten it, for example into a list, or raise the limit with sys.setrecursionlimit",
        )
    root = _arguments(value, parameters) if parameters is not None else [(what, value)]
    culprit = find_culprit(root, error)
    if not culprit.path:
        return SerializationError(what, error_text(error))
    outermost, *path = culprit.path
    return SerializationError(outermost, error_text(culprit.error), path, describe(culprit.obj))


def find_culprit(parts: Sequence[Part], error: BaseException) -> Culprit:
    """Walk down from named parts to the innermost one that can't be pickled. Never raises.

    Args:
        parts: Where to start; at least one of them fails.
        error: What pickle raised for them together; kept if none fails alone.
    """
    walk = _Walk()
    path: list[str] = []
    current: Any = None
    parent: Any = None
    level: Iterable[Part] = parts
    while len(path) < MAX_DEPTH:
        try:
            found = walk.first_failing(level)
        except Exception:  # noqa: BLE001 - the walk runs user code (__reduce_ex__, __repr__): it may raise anything
            break
        if found is None:
            break
        name, child, error = found
        path.append(name)
        parent, current = current, child
        level = parts_of(current)
    return Culprit(current, parent, path, error)


def failure_of(obj: Any) -> Exception | None:
    """What pickle says about `obj` alone; None if it can be pickled. Refs and actor handles count as fine."""
    return _Walk().trial(obj)


def failing_parts(obj: Any) -> list[tuple[str, Any, Exception]]:
    """Name, part and error of each direct part of `obj` that can't be pickled alone. Never raises."""
    walk = _Walk()
    tried = ((name, item, walk.trial(item)) for name, item in _some(parts_of(obj)))
    return [(name, item, error) for name, item, error in tried if error is not None]


def error_text(error: BaseException) -> str:
    """One line about an error, even if its `__str__` raises. The type is named unless it is pickle's own way of refusing."""
    text = message_of(error)
    kind = type(error).__name__
    if kind not in {"TypeError", "PicklingError", "AttributeError"} or not text:
        text = f"{kind}: {text}" if text else kind
    return _shortened(" ".join(text.split())).rstrip(".")


def describe(obj: Any) -> str:
    """What a thing is, in a few words: "a _thread.lock", "function <lambda>", "class Model"."""
    if isinstance(obj, type):
        return f"class {class_name(obj)}"
    if isinstance(obj, FunctionType):
        return f"function {obj.__qualname__}"
    return f"a {class_name(type(obj))}"


def parts_of(obj: Any) -> Iterator[Part]:
    """The parts pickle would go into for `obj`, each with the name a reader knows it by. May raise what user code raises."""
    if isinstance(obj, dict) and type(obj).__reduce_ex__ is object.__reduce_ex__:
        for key, item in obj.items():
            yield f"[{_repr(key)}]", item
            yield f"key {_repr(key)}", key
        if type(obj) is dict:
            return
    elif isinstance(obj, list | tuple) and type(obj).__reduce_ex__ is object.__reduce_ex__:
        for index, item in enumerate(obj):
            yield f"[{index}]", item
        if type(obj) in {list, tuple}:
            return
    elif type(obj) in {set, frozenset}:
        for item in obj:
            yield f"element {_repr(item)}", item
        return
    if isinstance(obj, FunctionType):
        yield from captured(obj)
    elif isinstance(obj, MethodType):
        yield ".__self__", obj.__self__
        yield ".__func__", obj.__func__
    elif isinstance(obj, partial):
        yield ".func", obj.func
        yield from ((f"argument {index}", item) for index, item in enumerate(obj.args))
        yield from ((f"argument {name!r}", item) for name, item in obj.keywords.items())
        yield from _attributes(vars(obj))
    elif isinstance(obj, CellType):
        yield "contents", obj.cell_contents
    elif isinstance(obj, type):
        yield from _attributes(vars(obj))
        yield from ((f"base class {base.__qualname__}", base) for base in obj.__bases__)
    elif isinstance(obj, staticmethod | classmethod):
        yield "function", obj.__func__
    elif isinstance(obj, property):
        yield from (("function", function) for function in (obj.fget, obj.fset, obj.fdel) if function is not None)
    else:
        yield from _reduced(obj)


def captured(function: FunctionType) -> Iterator[Part]:
    """What travels with a function pickled by value: variables of enclosing functions, globals it reads, defaults."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f"captured variable {name!r}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    names = function.__globals__
    yield from ((f"global {name!r}", names[name]) for name in _globals_read(code) if name in names)
    defaults = function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    yield from (
        (f"default of {name!r}", item) for name, item in zip(positional[-len(defaults) :], defaults, strict=False)
    )
    yield from ((f"default of {name!r}", item) for name, item in (function.__kwdefaults__ or {}).items())
    yield from _attributes(function.__dict__)
    yield from ((f"annotation of {name!r}", item) for name, item in function.__annotations__.items())


class _TrialPickler(ValuePickler):
    """Pickles into nothing. Refs and handles are written as names: a trial must not count as a borrow."""

    __slots__ = ("_walk",)

    def __init__(self, walk: _Walk) -> None:
        super().__init__()
        self._walk = walk
        Pickler.__init__(self, Sink(walk.count), PROTOCOL, buffer_callback=id)

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in hooked_types():
            return str, (type(obj).__name__,)
        return super().reducer_override(obj)


class _BudgetSpentError(Exception):
    pass


class _Walk:
    """The budget of one walk, and what it has seen."""

    def __init__(self) -> None:
        self.trials_left = MAX_TRIALS
        self.bytes_left = MAX_TRIAL_BYTES
        #: objects the walk has gone into, by identity; kept alive so that an identity stays theirs
        self.entered: dict[int, Any] = {}

    def count(self, part: bytes) -> None:
        self.bytes_left -= len(part)
        if self.bytes_left < 0:
            raise _BudgetSpentError

    def trial(self, obj: Any) -> Exception | None:
        """What pickle raises for `obj`; None if nothing, or if the budget is spent."""
        if self.trials_left <= 0 or self.bytes_left < 0:
            return None
        self.trials_left -= 1
        try:
            _TrialPickler(self).dump(obj)
        except (_BudgetSpentError, MemoryError):
            return None
        except Exception as error:  # noqa: BLE001 - user code
            return error
        return None

    def first_failing(self, parts: Iterable[Part]) -> tuple[str, Any, Exception] | None:
        """The first part that fails alone, found by halving: a bad element of a long list takes few trials."""
        known = [part for part in _some(parts) if id(part[1]) not in self.entered]
        while len(known) > 8:
            half = len(known) // 2
            known = known[:half] if self.trial([item for _, item in known[:half]]) is not None else known[half:]
        for name, item in known:
            error = self.trial(item)
            if error is not None:
                self.entered[id(item)] = item
                return name, item, error
        return None


def _some(parts: Iterable[Part]) -> list[Part]:
    found: list[Part] = []
    try:
        found.extend(islice(parts, MAX_PARTS))
    except Exception:  # noqa: BLE001 - parts come out of user code; those before the failure are still worth a look
        return found
    return found


def _arguments(value: Any, parameters: Sequence[str]) -> list[Part]:
    args, kwargs = value
    known = len(parameters)
    named = [
        (f"argument {parameters[index]!r}" if index < known else f"argument {index}", item)
        for index, item in enumerate(args)
    ]
    return named + [(f"argument {name!r}", item) for name, item in kwargs.items()]


def _largest(value: Any, what: str, parameters: Sequence[str] | None) -> str:
    """Name of the argument that takes most bytes; `what` if the value is not a call's or nothing can be said."""
    if parameters is None:
        return what
    sizes = [(size_of(item), name) for name, item in _arguments(value, parameters)]
    return max(sizes, default=(0, what))[1]


def size_of(obj: Any) -> int:
    """About how many bytes `obj` takes when pickled, buffers included; 0 if it can't be pickled."""
    size = 0

    def count(part: Any) -> None:
        nonlocal size
        size += size_of_part(part)

    pickler = _TrialPickler(_Walk())
    Pickler.__init__(pickler, Sink(count), PROTOCOL, buffer_callback=count)
    try:
        pickler.dump(obj)
    except Exception:  # noqa: BLE001 - user code
        return 0
    return size


def _reduced(obj: Any) -> Iterator[Part]:
    """Parts of an object as its reduce value lists them, so that `__getstate__` and `__reduce__` are believed."""
    kind = type(obj)
    reduce = load_cloudpickle().get(kind) or dispatch_table.get(kind)
    reduced = reduce(obj) if reduce is not None else obj.__reduce_ex__(PROTOCOL)
    if not isinstance(reduced, tuple):
        return  # a string: the name of a global
    function, arguments, state, items, pairs = (*reduced[:5], None, None, None)[:5]
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        yield from _attributes(state[1])  # __slots__
        state = state[0]
    if isinstance(state, dict):
        yield from _attributes(state)
    elif state is not None:
        yield "state", state
    yield from ((f"[{index}]", item) for index, item in enumerate(items or ()))
    for key, item in pairs or ():
        yield f"[{_repr(key)}]", item
        yield f"key {_repr(key)}", key
    for index, item in enumerate(arguments):
        yield (f"class {item.__qualname__}" if isinstance(item, type) else f"constructor argument {index}"), item
    yield "constructor", function


def _attributes(namespace: Iterable[Any]) -> Iterator[Part]:
    mapping: Any = namespace
    yield from ((f".{name}", item) for name, item in list(mapping.items()))


def _globals_read(code: CodeType) -> dict[str, None]:
    """Names of globals that a function's code, or code nested in it, uses; in order, once each."""
    from dis import get_instructions  # late: failures only

    names = {step.argval: None for step in get_instructions(code) if step.opname.endswith("_GLOBAL")}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.update(_globals_read(constant))
    return names


def _repr(key: Any) -> str:
    try:
        return _shortened(repr(key))
    except Exception:  # noqa: BLE001 - user code
        return f"<{type(key).__name__}>"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 20]}... ({len(text)} characters)"
