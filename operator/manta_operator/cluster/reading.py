"""Kubernetes' JSON as values. Nothing in it is believed to be there: whoever wrote it, reading it never fails."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from manta_operator.api.cluster import KIND
from manta_operator.builders.labels import Manifest


def part(obj: object, *path: str) -> Mapping[str, Any]:
    """An object within an object; empty if it is not there or is none."""
    for name in path:
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj if isinstance(obj, dict) else {}


def parts(obj: object, *path: str) -> list[Mapping[str, Any]]:
    """The objects of a list within an object; empty if it is not there or is none."""
    *folders, last = path
    items = part(obj, *folders).get(last)
    return [one for one in items if isinstance(one, dict)] if isinstance(items, list) else []


def text(obj: object, *path: str) -> str:
    """A text within an object; empty if it is not there."""
    *folders, last = path
    value = part(obj, *folders).get(last)
    return "" if value is None else str(value)


def number(obj: object, *path: str) -> int:
    """A whole number within an object; 0 if it is not there."""
    *folders, last = path
    value = part(obj, *folders).get(last)
    return value if isinstance(value, int) else 0


def seconds(stamp: str) -> float:
    """A time in RFC 3339 as seconds since 1970; 0 for none."""
    try:
        return datetime.datetime.fromisoformat(stamp).timestamp() if stamp else 0.0
    except ValueError:
        return 0.0


def stamp(at: float) -> str:
    """Seconds since 1970 as Kubernetes writes them: whole ones, in RFC 3339."""
    return datetime.datetime.fromtimestamp(int(at), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(obj: Manifest, kind: str) -> Mapping[str, Any]:
    """One of an object's conditions; empty if it has none of that type."""
    return next((one for one in parts(obj, "status", "conditions") if one.get("type") == kind), {})


def controller(obj: Manifest) -> Mapping[str, Any]:
    """The owner reference of whoever is in charge of an object; empty if nobody is."""
    return next((one for one in parts(obj, "metadata", "ownerReferences") if one.get("controller")), {})


def is_former(obj: Manifest, cluster: str) -> bool:
    """Whether an object that is not a cluster's own is of a former cluster of its name, and so goes by itself."""
    owner = controller(obj)
    return owner.get("kind") == KIND and owner.get("name") == cluster
