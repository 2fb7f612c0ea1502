"""The types to the schema of a definition (CRD), and to the definition itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from manta_operator.api.field import (
    About,
    Field,
    Quantity,
    Rule,
    fields_of,
    is_json,
    is_list,
    is_mapping,
    is_resource,
    item_of,
    rules_of,
)
from manta_operator.api.names import GROUP, VERSION
from manta_operator.api.render import render

_PRIMITIVES = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Column:
    """One that `kubectl get` prints.

    Attributes:
        name: Its heading.
        path: JSON path of its value.
        type: string, integer or date.
        description: For who reads the definition.
        wide: Whether it is shown with `-o wide` alone.
    """

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    """A kind of object.

    Attributes:
        kind: Its name.
        short_name: For impatient people.
        resource: Its class; it has `metadata` and `spec`.
        status: The class of its status.
        columns: What `kubectl get` prints.
    """

    kind: str
    short_name: str
    resource: type
    status: type
    columns: tuple[Column, ...]

    @property
    def plural(self) -> str:
        """Its name in paths."""
        return f"{self.kind.lower()}s"

    @property
    def name(self) -> str:
        """The definition's own name."""
        return f"{self.plural}.{GROUP}"


def definition_manifest(definition: Definition) -> dict[str, Any]:
    """The CustomResourceDefinition, as it is applied."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": definition.name,
            # Deleting a definition deletes every object of its kind: uninstalling a chart must not.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                "shortNames": [definition.short_name],
                "categories": ["manta"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in definition.columns],
                    "schema": {"openAPIV3Schema": _root(definition)},
                }
            ],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    rest = {"priority": 1} if column.wide else {}
    return {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
        **rest,
    }


def _root(definition: Definition) -> dict[str, Any]:
    spec = next(one for one in fields_of(definition.resource) if one.name == "spec")
    return {
        "description": _words(definition.resource),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "The version of this kind's schema."},
            "kind": {"type": "string", "description": f"{definition.kind}."},
            "metadata": {"type": "object"},
            "spec": _field(spec),
            "status": {"description": "What is; the operator writes it.", **_said(_object(definition.status))},
        },
        **_rules(rules_of(definition.resource)),
    }


def _object(kind: type) -> dict[str, Any]:
    fields = fields_of(kind)
    required = [one.name for one in fields if one.required]
    return {
        "type": "object",
        **({"required": required} if required else {}),
        "properties": {one.name: _field(one) for one in fields},
        **_rules(rules_of(kind)),
    }


def _said(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without defaults: a status has what the operator said, and nothing that the API server adds."""
    properties = {name: _said(inner) for name, inner in schema.get("properties", {}).items()}
    rest = {name: inner for name, inner in schema.items() if name != "default"}
    if "items" in rest:
        rest["items"] = _said(rest["items"])
    return {**rest, "properties": properties} if properties else rest


def _field(one: Field) -> dict[str, Any]:
    schema = {"description": one.about.description, **_schema(one.kind, one.about)}
    if not one.required and one.default is not None:
        default = render(one.default)
        # `{}` for an object that is not there: its own fields' defaults then fill it. But for one with rules: the API server
        # tries them on the default as it is written.
        brief = is_resource(one.kind) and not rules_of(one.kind)
        schema["default"] = _unlike(one.kind, default) if brief else default
    return schema


def _unlike(kind: type, rendered: Mapping[str, Any]) -> dict[str, Any]:
    """An object's default, less what its fields' own defaults say: those come by themselves."""
    differs: dict[str, Any] = {}
    for one in fields_of(kind):
        if one.name not in rendered:
            continue
        if is_resource(one.kind):
            inner = _unlike(one.kind, rendered[one.name])
            if inner and (one.required or inner != _unlike(one.kind, render(one.default))):
                differs[one.name] = inner
        elif one.required or rendered[one.name] != render(one.default):
            differs[one.name] = rendered[one.name]
    return differs


def _schema(kind: Any, about: About) -> dict[str, Any]:
    if is_resource(kind):
        return _object(kind)
    if is_json(kind):
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if is_list(kind):
        items = _schema(item_of(kind), about)
        as_map = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [about.key]} if about.key else {}
        return {"type": "array", **_bound("maxItems", about.max_items), "items": items, **as_map}
    if is_mapping(kind):
        inner = _schema(item_of(kind), about)
        return {"type": "object", **_bound("maxProperties", about.max_items), "additionalProperties": inner}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [one.value for one in kind]}
    if kind is Quantity:
        return _quantity(about)
    if kind in (int, float):
        bounds = {**_bound("minimum", about.minimum), **_bound("maximum", about.maximum)}
        return {"type": _PRIMITIVES[kind], **({"format": "int64"} if kind is int else {}), **bounds}
    if kind is str:
        return {"type": "string", **_text(about)}
    return {"type": _PRIMITIVES[kind]}


def _quantity(about: About) -> dict[str, Any]:
    """As Kubernetes itself takes them: `cpu: 4` and `cpu: "4"` are the same."""
    rule = Rule(f"type(self) == int ? self >= 0 : self.matches('{_escaped(about.pattern)}')", about.pattern_says, None)
    return {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        **_bound("maxLength", about.max_length),
        **_rules((rule,)),
    }


def _text(about: About) -> dict[str, Any]:
    bounds = {**_bound("minLength", about.min_length), **_bound("maxLength", about.max_length)}
    if not about.pattern:
        return bounds
    # Not `pattern`: the API server answers that with the expression, and a rule with words.
    return {**bounds, **_rules((Rule(f"self.matches('{_escaped(about.pattern)}')", about.pattern_says, None),))}


def _escaped(pattern: str) -> str:
    """As it stands in a text of CEL."""
    return pattern.replace("\\", "\\\\")


def _bound(name: str, value: int | None) -> dict[str, int]:
    return {} if value is None else {name: value}


def _rules(rules: tuple[Rule, ...]) -> dict[str, Any]:
    if not rules:
        return {}
    return {
        "x-kubernetes-validations": [
            {"rule": rule.cel, "message": rule.message, **({"fieldPath": rule.at} if rule.at else {})} for rule in rules
        ]
    }


def _words(kind: type) -> str:
    assert kind.__doc__ is not None
    return kind.__doc__.strip().splitlines()[0]
