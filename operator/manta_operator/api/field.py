"""What a field of a resource is, beyond its Python type.

Resources are frozen dataclasses. Each field is made by `field()`, which carries what the definition (CRD) says about it; what
must hold between a class's fields is in its `rules`. One statement of each, read by the parser and by the definition's generator.

Types that fields may have: str, int, float, bool, a StrEnum, `Quantity`, another such dataclass, `tuple[T, ...]`,
`Mapping[str, T]`, and `Json` for what Kubernetes or somebody else defines; each also `| None`.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NewType

#: An amount as Kubernetes writes it: `500m`, `2Gi`; whole numbers may be written as such. `quantity.amount` reads it.
Quantity = NewType("Quantity", str)

#: An object that is not ours to define: kept as it came.
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that must hold, in words, for the API server and for the parser.

    Attributes:
        cel: True if it holds; `self` is the object, `oldSelf` what it was.
        message: What a person is told who broke it: what is wrong, and what would be right.
        holds: The same for the parsed value; None for a rule about a change, which only the API server can see.
        at: JSON path, from the object, of the field to complain about, such as `.storage.size`; empty for the object itself.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None
    at: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """What `field()` was told; bounds that do not fit the type are refused when the definition is made.

    Attributes:
        description: For `kubectl explain`.
        name: In JSON; empty for the Python name in camelCase.
        minimum: Of a number, or of a mapping's numbers.
        maximum: The same.
        min_length: Of a text.
        max_length: Of a text, or of each text of a list or mapping.
        pattern: Regular expression for a whole text, or for each text of a list or mapping.
        pattern_says: What a text that fits the pattern is, in words: "must be ...".
        max_items: Of a list or mapping.
        key: Of a list of objects: the field by which they are told apart.
        immutable: Why it cannot change once it was set; empty if it can.
        not_built: What to do instead; empty for fields that work. Objects with such a field are refused.
    """

    description: str
    name: str = ""
    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str = ""
    pattern_says: str = ""
    max_items: int | None = None
    key: str = ""
    immutable: str = ""
    not_built: str = ""


def field(description: str, *, default: Any = dataclasses.MISSING, **bounds: Any) -> Any:
    """A field of a resource.

    Args:
        description: One or more sentences for `kubectl explain`.
        default: What a missing field means; a callable makes a new one each time. Without it the field is required.
        bounds: Attributes of `About`.
    """
    metadata = {"about": About(description, **bounds)}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Field:
    """One field, with its type taken apart.

    Attributes:
        name: In JSON.
        attribute: In Python.
        kind: The type, without `| None`.
        about: What it was made with.
        required: Whether it has no default.
        default: What it is when missing; None where that means "not said".
    """

    name: str
    attribute: str
    kind: Any
    about: About
    required: bool
    default: Any


def fields_of(kind: type) -> tuple[Field, ...]:
    """The fields of a resource or of a part of one, in the order in which they are written."""
    return _fields_of(kind)


@functools.cache
def _fields_of(kind: Any) -> tuple[Field, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(_field(one, hints[one.name]) for one in dataclasses.fields(kind))


def _field(one: dataclasses.Field[Any], hint: Any) -> Field:
    about: About = one.metadata["about"]
    factory = one.default_factory
    if factory is not dataclasses.MISSING:
        default, required = factory(), False
    else:
        required = one.default is dataclasses.MISSING
        default = None if required else one.default
    return Field(about.name or camel(one.name), one.name, _without_none(hint), about, required, default)


def rules_of(kind: type) -> tuple[Rule, ...]:
    """What must hold between the fields of a class, the rules that follow from its fields' own words included."""
    said: tuple[Rule, ...] = getattr(kind, "rules", ())
    return (*(rule for one in fields_of(kind) for rule in _implied(one)), *said)


def _implied(one: Field) -> list[Rule]:
    rules = []
    name, at = one.name, f".{one.name}"
    if one.about.not_built:
        rules.append(
            Rule(
                f"!has(self.{name})",
                f"{name} is not built yet: {one.about.not_built}",
                lambda value, attribute=one.attribute: getattr(value, attribute) is None,  # type: ignore[misc]
                at,
            )
        )
    if one.about.immutable:
        # About the object, not the field: a rule of a field is not looked at when the field comes or goes.
        same = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})"
        rules.append(Rule(same, f"{name} cannot change: {one.about.immutable}", None, at))
    return rules


def is_resource(kind: Any) -> bool:
    """Whether a field's type is a dataclass of ours."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def item_of(kind: Any) -> Any:
    """The type of what is in a `tuple[T, ...]` or `Mapping[str, T]`; None for every other type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return arguments[0]
    return arguments[1] if origin is Mapping else None


def is_json(kind: Any) -> bool:
    """Whether a field's type is an object that is not ours to define."""
    return bool(kind == Json)


def is_list(kind: Any) -> bool:
    """Whether a field's type is `tuple[T, ...]`."""
    return typing.get_origin(kind) is tuple


def is_mapping(kind: Any) -> bool:
    """Whether a field's type is `Mapping[str, T]`."""
    return typing.get_origin(kind) is Mapping and not is_json(kind)


def camel(name: str) -> str:
    """`worker_groups` as `workerGroups`."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        [kind] = [one for one in typing.get_args(hint) if one is not type(None)]
        return kind
    return hint
