"""The root of all errors of ours, and how an error's attributes are written as plain fields."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar, Self

    #: Attributes of an error, in the constructor's order, each with how it is written.
    Fields = tuple[tuple[str, str], ...]

# What an attribute is. None is written by leaving the field out; a field that is missing is None where that is allowed,
# and else the nothing of its type.
TEXT = "text"
OPTIONAL_TEXT = "text or None"
INT = "int"
BOOL = "bool"
FLOAT = "float"
TEXTS = "texts"
BYTES = "bytes"
TASK_ID = "task id"

_NOTHING: Mapping[str, str] = {}


class MantaError(Exception):
    """Anything that went wrong in Manta, or in user code that ran in it. Also named `RayError`.

    Attributes:
        code: Stable upper-case name of the class. The state API's `error_type` where that has a name for it.
        facts: What else is known: where it happened, which attempt, what to do. Shown below the message.
    """

    code: ClassVar[str] = "MANTA_ERROR"
    facts: Mapping[str, str] = _NOTHING

    #: What makes up the error. Empty: the message alone.
    _fields: ClassVar[Fields] = ()

    #: On an instance: the message that came over the wire with a class that this process does not know.
    _shown: str

    #: The message of an error that was made without one.
    _default: ClassVar[str] = ""

    def with_facts(self, **facts: object) -> Self:
        """Add what is known about the error; None and '' are left out. Returns the error itself.

        Usual names: `node_id`, `ip`, `pid`, `worker_id`, `attempt`, `cause_id`, `log`, `hint`.
        """
        known = {name: str(value) for name, value in facts.items() if value is not None and value != ""}
        self.facts = {**self.facts, **known}
        return self

    def __str__(self) -> str:
        text: str = self.__dict__.get("_shown") or self._text()
        for name, value in self.facts.items():
            text += f"\n\t{name}: {value}"
        return text

    def _text(self) -> str:
        """The message, without the facts."""
        return Exception.__str__(self) if self.args else self._default

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        # Not through the constructor, whose parameters need not be `args`: an error of ours always survives pickling.
        return revive, (type(self), self.args, self.__dict__)


def revive(kind: type[BaseException], args: tuple[object, ...], attributes: dict[str, Any]) -> BaseException:
    """Make an exception again without running its constructor. Where pickles of our errors lead."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def message_of(error: BaseException) -> str:
    """`str(error)`, whatever its `__str__` does."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - user code
        return f"<{class_name(type(error))}: its __str__ raised {type(broken).__name__}>"


def class_name(kind: type) -> str:
    """A class as tracebacks name it: with its module unless it is a builtin."""
    module = getattr(kind, "__module__", None)
    name = one_line(str(getattr(kind, "__qualname__", kind.__name__)))
    return name if module in ("builtins", None) else f"{one_line(str(module))}.{name}"


def class_names(kind: type) -> tuple[str, ...]:
    """Names of a class and its bases along the MRO, `object` left out, `module.Name` each, builtins too."""
    return tuple(
        f"{one_line(str(getattr(base, '__module__', '?')))}.{one_line(str(base.__qualname__))}"
        for base in kind.__mro__
        if base is not object
    )


def one_line(text: str, limit: int = 512) -> str:
    """A name that strangers chose, fit for one line of text: no control characters, no endless length."""
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
