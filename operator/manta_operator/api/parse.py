"""Objects from an API server to the types: nothing is believed, every mistake is named.

The API server has checked an object when it was written, but perhaps by an older definition, or by none. So everything is
looked at again here, by the same bounds and rules, and what does not fit is an error with words, never an AttributeError later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from manta_operator.api import cluster, job
from manta_operator.api.cluster import MantaCluster
from manta_operator.api.field import (
    About,
    Field,
    Quantity,
    fields_of,
    is_json,
    is_list,
    is_mapping,
    is_resource,
    item_of,
    rules_of,
)
from manta_operator.api.job import MantaJob
from manta_operator.api.names import GROUP_VERSION

T = TypeVar("T")

#: How much of a wrong value an error shows.
_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    Attributes:
        path: Where, in JSON: `spec.workerGroups[0].replicas`.
        says: What is wrong there, and what would be right.
    """

    path: str
    says: str

    def __str__(self) -> str:
        return f"{self.path}: {self.says}"


class InvalidObjectError(Exception):
    """An object is not what its kind should be.

    Attributes:
        kind: What it should be.
        name: Its namespace and name, as far as it has them.
        problems: Every mistake, in the order of the fields; rules are looked at only when nothing else is wrong.
    """

    def __init__(self, kind: str, name: str, problems: tuple[Problem, ...]) -> None:
        self.kind, self.name, self.problems = kind, name, problems
        super().__init__(kind, name, problems)

    def __str__(self) -> str:
        return f"{self.kind} {self.name} is invalid: " + "; ".join(map(str, self.problems))


def parse_cluster(raw: object) -> MantaCluster:
    """A MantaCluster.

    Raises:
        InvalidObjectError: It is none.
    """
    return _parse(MantaCluster, cluster.KIND, raw)


def parse_job(raw: object) -> MantaJob:
    """A MantaJob.

    Raises:
        InvalidObjectError: It is none.
    """
    return _parse(MantaJob, job.KIND, raw)


def read_status(kind: type[T], raw: object) -> T:
    """What the operator said of an object before; as if it had said nothing where somebody made something else of it.

    Args:
        kind: The status's type, all of whose fields have defaults.
        raw: The object.
    """
    status = raw.get("status") if isinstance(raw, Mapping) else None
    reader = _Reader()
    read = reader.read(kind, {} if status is None else status, "status")
    return kind() if reader.problems else read


def _parse(kind: type[T], name: str, raw: object) -> T:
    reader = _Reader()
    if not isinstance(raw, Mapping):
        raise InvalidObjectError(name, "?", (Problem("", f"must be an object, not {_shown(raw)}"),))
    for key, wanted in (("apiVersion", GROUP_VERSION), ("kind", name)):
        if raw.get(key) != wanted:
            reader.complain(key, f"must be {wanted}, not {_shown(raw.get(key))}")
    parsed = reader.read(kind, raw, "")
    if reader.problems:
        raise InvalidObjectError(name, _name_of(raw), tuple(reader.problems))
    return parsed


def _name_of(raw: Mapping[str, Any]) -> str:
    metadata = raw.get("metadata")
    if not isinstance(metadata, Mapping):
        return "?"
    return f"{metadata.get('namespace', '?')}/{metadata.get('name', '?')}"[:512]


class _Reader:
    """Reads values and gathers what is wrong with them. What it returns for a wrong value is of no use to anybody."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def complain(self, path: str, says: str) -> None:
        self.problems.append(Problem(path, says))

    def read(self, kind: type[T], raw: object, path: str) -> T:
        if not isinstance(raw, Mapping):
            self.complain(path, f"must be an object, not {_shown(raw)}")
            return None  # type: ignore[return-value]
        before = len(self.problems)
        values = {one.attribute: self._field(one, raw, path) for one in fields_of(kind)}
        if len(self.problems) > before:
            return None  # type: ignore[return-value]
        value = kind(**values)
        for rule in rules_of(kind):
            if rule.holds is not None and not rule.holds(value):
                self.complain((path + rule.at).removeprefix("."), rule.message)
        return value

    def _field(self, one: Field, raw: Mapping[str, Any], path: str) -> Any:
        inner = f"{path}.{one.name}" if path else one.name
        value = raw.get(one.name)
        if value is None:  # null is as good as nothing, as for the API server
            if one.required:
                self.complain(inner, "is missing")
            return one.default
        return self.value(one.kind, one.about, value, inner)

    def value(self, kind: Any, about: About, raw: object, path: str) -> Any:
        if is_resource(kind):
            return self.read(kind, raw, path)
        if is_json(kind):
            return self._of_type(raw, Mapping, "an object", path)
        if is_list(kind):
            return self._list(kind, about, raw, path)
        if is_mapping(kind):
            return self._mapping(kind, about, raw, path)
        if kind is bool:
            return self._of_type(raw, bool, "true or false", path)
        if kind in (int, float):
            return self._number(kind, about, raw, path)
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return self._one_of(kind, raw, path)
        if kind is Quantity and isinstance(raw, int) and not isinstance(raw, bool):
            raw = str(raw)
        return self._text(about, raw, path)

    def _of_type(self, raw: object, kind: type[Any], says: str, path: str) -> Any:
        if not isinstance(raw, kind):
            self.complain(path, f"must be {says}, not {_shown(raw)}")
        return raw

    def _list(self, kind: Any, about: About, raw: object, path: str) -> tuple[Any, ...]:
        if not isinstance(raw, list | tuple):
            self.complain(path, f"must be a list, not {_shown(raw)}")
            return ()
        if about.max_items is not None and len(raw) > about.max_items:
            self.complain(path, f"must have at most {about.max_items} items, not {len(raw)}")
            return ()
        items = tuple(self.value(item_of(kind), about, item, f"{path}[{index}]") for index, item in enumerate(raw))
        if about.key:
            keys = [item.get(about.key) for item in raw if isinstance(item, Mapping)]
            for key in dict.fromkeys(key for key in keys if isinstance(key, str) and keys.count(key) > 1):
                self.complain(path, f"has more than one item with {about.key} {_shown(key)}")
        return items

    def _mapping(self, kind: Any, about: About, raw: object, path: str) -> Mapping[str, Any]:
        if not isinstance(raw, Mapping):
            self.complain(path, f"must be an object, not {_shown(raw)}")
            return {}
        if about.max_items is not None and len(raw) > about.max_items:
            self.complain(path, f"must have at most {about.max_items} entries, not {len(raw)}")
            return {}
        return {
            self._of_type(key, str, "a text", path): self.value(item_of(kind), about, value, f"{path}.{key}"[:512])
            for key, value in raw.items()
        }

    def _number(self, kind: type[float], about: About, raw: object, path: str) -> float:
        whole = issubclass(kind, int)
        if isinstance(raw, bool) or not isinstance(raw, int if whole else int | float):
            self.complain(path, f"must be {'a whole number' if whole else 'a number'}, not {_shown(raw)}")
            return 0
        if about.minimum is not None and raw < about.minimum:
            self.complain(path, f"must be at least {about.minimum}, not {_shown(raw)}")
        if about.maximum is not None and raw > about.maximum:
            self.complain(path, f"must be at most {about.maximum}, not {_shown(raw)}")
        try:
            return kind(raw)
        except OverflowError:  # complained about above, wherever there is a maximum
            return 0

    def _one_of(self, kind: type[StrEnum], raw: object, path: str) -> Any:
        values = [one.value for one in kind]
        if raw not in values:
            self.complain(path, f"must be one of {', '.join(values)}, not {_shown(raw)}")
            return None
        return kind(raw)

    def _text(self, about: About, raw: object, path: str) -> str:
        if not isinstance(raw, str):
            self.complain(path, f"must be a text, not {_shown(raw)}")
        elif about.max_length is not None and len(raw) > about.max_length:
            self.complain(path, f"must have at most {about.max_length} characters, not {len(raw)}")
        elif about.min_length is not None and len(raw) < about.min_length:
            self.complain(path, "must not be empty")
        elif about.pattern and not re.fullmatch(about.pattern, raw, re.ASCII):
            self.complain(path, f"{about.pattern_says}, not {_shown(raw)}")
        else:
            return raw
        return ""


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    # A huge number's digits are no help, and Python refuses to write more than 4300 of them.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 1 << 64:
        return "a huge number"
    text = (
        {None: "null", True: "true", False: "false"}.get(value)
        if value is None or isinstance(value, bool)
        else repr(value)
    )
    assert text is not None
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
