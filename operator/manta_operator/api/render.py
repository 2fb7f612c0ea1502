"""The types to JSON: what is not said is left out, as the API server would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manta_operator.api.field import fields_of, is_resource


def render(value: Any) -> Any:
    """A value of one of our types as JSON; fields that are None, and empty lists and objects, are left out."""
    if is_resource(type(value)):
        rendered = ((one.name, render(getattr(value, one.attribute))) for one in fields_of(type(value)))
        return {name: inner for name, inner in rendered if inner is not None and inner not in ([], {})}
    if isinstance(value, Mapping):
        return {str(key): render(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [render(inner) for inner in value]
    if isinstance(value, str):
        return str(value)  # a StrEnum's member is its text
    return value
