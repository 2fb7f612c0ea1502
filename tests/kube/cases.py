"""Objects that are accepted and objects that are refused, made from the types: every field times everything that can be wrong.

Each field needs a row in `FIELDS`, and each rule between fields one in `RULES`; tests compare those with the types. The rest is
derived from what the fields say of themselves. Both the API server, by the definitions, and the operator's parser get them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from manta_operator.api.crd import Definition
from manta_operator.api.definitions import CLUSTER, JOB
from manta_operator.api.field import (
    Field,
    Quantity,
    Rule,
    fields_of,
    is_json,
    is_list,
    is_mapping,
    is_resource,
    item_of,
)
from manta_operator.api.names import GROUP_VERSION
from manta_operator.api.render import render

GROUP = {"name": "w", "resources": {"limits": {"cpu": "1", "memory": "2Gi"}}}
SPECS: dict[str, dict[str, Any]] = {
    "MantaCluster": {"image": "manta:1", "workerGroups": [GROUP]},
    "MantaJob": {"clusterRef": {"name": "demo"}, "entrypoint": "python -m train"},
}
DEFINITIONS = {definition.kind: definition for definition in (CLUSTER, JOB)}


@dataclass(frozen=True)
class Row:
    """What a field may be.

    Attributes:
        good: A value that is accepted.
        other: Another one, for fields that cannot change.
        beside: Other fields that `good` needs, by path from `spec`.
    """

    good: Any
    other: Any = None
    beside: tuple[tuple[str, Any], ...] = ()


_EMPTY_DIR = (("head.storage.type", "emptyDir"),)
_GROUP_PATH = "workerGroups[]"
#: Enough, so that limits may be left out.
_REQUESTS = ((f"{_GROUP_PATH}.resources.requests", {"cpu": "1", "memory": "1Gi"}),)
FIELDS: dict[str, dict[str, Row]] = {
    "MantaCluster": {
        "image": Row("registry.local:5000/team/manta:1.2-py3.12@sha256:00"),
        "imagePullSecrets": Row([{"name": "one"}, {"name": "two"}]),
        "imagePullSecrets[].name": Row("a.b-c"),
        "suspend": Row(True),
        "auth": Row({"mode": "none"}),
        "auth.mode": Row("none"),
        "auth.existingSecret": Row("my-tokens"),
        "tls": Row({"enabled": False}),
        "tls.enabled": Row(False),
        "tls.existingSecret": Row("my-authority"),
        "tls.extraSANs": Row(["gateway.example.org", "192.0.2.7"]),
        "networkPolicy": Row({"enabled": False}),
        "networkPolicy.enabled": Row(False),
        "networkPolicy.extraIngress": Row([{"from": [{"podSelector": {}}]}]),
        "networkPolicy.extraEgress": Row([{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]),
        "head": Row({"raylet": {"enabled": False}}),
        "head.resources": Row({"limits": {"cpu": "2"}}),
        "head.resources.limits": Row({"cpu": "500m", "memory": "2Gi", "nvidia.com/gpu": "1"}),
        "head.resources.requests": Row({"cpu": "0", "memory": "1e9"}),
        "head.storage": Row({"size": "10Gi"}),
        "head.storage.type": Row("emptyDir", "pvc"),
        "head.storage.size": Row("1.5Ti"),
        "head.storage.storageClassName": Row("fast", "slow"),
        "head.storage.existingClaim": Row("mine", "yours"),
        "head.storage.deletionPolicy": Row("Retain"),
        "head.template": Row({"metadata": {"labels": {"a": "b"}}}),
        "head.template.metadata": Row({"annotations": {"a": "b"}}),
        "head.template.metadata.labels": Row({"team.example.org/name": "x"}),
        "head.template.metadata.annotations": Row({"note": "long words " * 20}),
        "head.template.spec": Row({"nodeSelector": {"disk": "ssd"}, "anything": [1, {"at": "all"}]}),
        "head.service": Row({"type": "NodePort"}),
        "head.service.type": Row("LoadBalancer"),
        "head.service.annotations": Row({"cloud.example.org/internal": "true"}),
        "head.raylet": Row({"enabled": False}),
        "head.raylet.enabled": Row(False),
        "workerGroups": Row([GROUP, {**GROUP, "name": "gpu"}]),
        f"{_GROUP_PATH}.name": Row("big-2"),
        f"{_GROUP_PATH}.replicas": Row(10_000),
        f"{_GROUP_PATH}.minReplicas": Row(0),
        f"{_GROUP_PATH}.maxReplicas": Row(1),
        f"{_GROUP_PATH}.resources": Row({"requests": {"cpu": "1", "memory": "1Gi"}}),
        f"{_GROUP_PATH}.resources.limits": Row({"cpu": "96", "memory": "2Ti"}, beside=_REQUESTS),
        f"{_GROUP_PATH}.resources.requests": Row({"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "1Gi"}),
        f"{_GROUP_PATH}.labels": Row({"zone": "a"}),
        f"{_GROUP_PATH}.customResources": Row({"licence": 0.5, "slot": 4}),
        f"{_GROUP_PATH}.objectStore": Row({"memory": "1Gi"}),
        f"{_GROUP_PATH}.objectStore.memory": Row("500M"),
        f"{_GROUP_PATH}.objectStore.spill": Row({}),
        f"{_GROUP_PATH}.objectStore.spill.size": Row("1Ti"),
        f"{_GROUP_PATH}.objectStore.spill.path": Row("/mnt/nvme/spill"),
        f"{_GROUP_PATH}.template": Row({"spec": {"priorityClassName": "low"}}),
        f"{_GROUP_PATH}.template.metadata": Row({"labels": {"a": "b"}}),
        f"{_GROUP_PATH}.template.metadata.labels": Row({"a": ""}),
        f"{_GROUP_PATH}.template.metadata.annotations": Row({"a": ""}),
        f"{_GROUP_PATH}.template.spec": Row({"containers": [{"name": "raylet", "env": [{"name": "A", "value": "b"}]}]}),
        "upgradeStrategy": Row({"type": "OnDelete"}),
        "upgradeStrategy.type": Row("OnDelete"),
        "autoscaling": Row({"anything": 1}),
        "idleSuspendSeconds": Row(600),
        "managedBy": Row("example.org/other"),
    },
    "MantaJob": {
        "clusterRef": Row({"name": "demo"}, {"name": "other"}),
        "clusterRef.name": Row("demo-2"),
        "entrypoint": Row("python train.py --epochs 3", "python other.py"),
        "runtimeEnv": Row({"env_vars": {"A": "1"}, "pip": ["numpy"]}),
        "entrypointResources": Row({"cpu": "1"}, {"cpu": "2"}),
        "entrypointResources.cpu": Row("500m"),
        "entrypointResources.memory": Row("4Gi"),
        "entrypointResources.gpu": Row("1"),
        "entrypointResources.custom": Row({"licence": 0.5}),
        "backoffLimit": Row(1000),
        "activeDeadlineSeconds": Row(1),
        "ttlSecondsAfterFinished": Row(0),
        "suspend": Row(True),
        "clusterSpec": Row({"image": "manta:1"}),
        "managedBy": Row("example.org/other"),
    },
}


@dataclass(frozen=True)
class Broken:
    """How a rule between fields is broken.

    Attributes:
        kind: Of the object.
        set: Fields, by path from `spec` or as `metadata.name`.
        before: Fields of what it was, for a rule about changes.
    """

    kind: str
    set: tuple[tuple[str, Any], ...]
    before: tuple[tuple[str, Any], ...] = ()


#: By the beginning of a rule's message.
RULES: dict[str, list[Broken]] = {
    "auth mode kubernetes is not built yet": [Broken("MantaCluster", (("auth.mode", "kubernetes"),))],
    "existingSecret holds tokens": [Broken("MantaCluster", (("auth", {"mode": "none", "existingSecret": "s"}),))],
    "existingSecret holds an authority": [
        Broken("MantaCluster", (("tls", {"enabled": False, "existingSecret": "s"}),))
    ],
    "existingClaim goes with": [Broken("MantaCluster", (*_EMPTY_DIR, ("head.storage.existingClaim", "c")))],
    "storageClassName is for": [
        Broken("MantaCluster", (*_EMPTY_DIR, ("head.storage.storageClassName", "c"))),
        Broken("MantaCluster", (("head.storage", {"existingClaim": "c", "storageClassName": "c"}),)),
    ],
    "size can grow": [
        Broken("MantaCluster", (("head.storage.size", "1000Mi"),), (("head.storage.size", "1Gi"),)),
        Broken("MantaCluster", (), (("head.storage.size", "2Gi"),)),  # back to the default
    ],
    'a group cannot be called "head"': [Broken("MantaCluster", ((f"{_GROUP_PATH}.name", "head"),))],
    "minReplicas must not be more": [
        Broken("MantaCluster", ((f"{_GROUP_PATH}.minReplicas", 3), (f"{_GROUP_PATH}.maxReplicas", 2)))
    ],
    "replicas must be between": [
        Broken("MantaCluster", ((f"{_GROUP_PATH}.minReplicas", 2),)),
        Broken("MantaCluster", ((f"{_GROUP_PATH}.maxReplicas", 0),)),
    ],
    "resources must say how much cpu": [
        Broken("MantaCluster", ((f"{_GROUP_PATH}.resources", {"limits": {"memory": "1Gi"}}),))
    ],
    "resources must say how much memory": [
        Broken("MantaCluster", ((f"{_GROUP_PATH}.resources", {"limits": {"cpu": "1"}}),))
    ],
    "objectStore.memory must be less": [
        Broken("MantaCluster", ((f"{_GROUP_PATH}.objectStore.memory", "2Gi"),)),
        Broken(
            "MantaCluster",
            (
                (f"{_GROUP_PATH}.resources", {"requests": {"cpu": "1", "memory": "512Mi"}}),
                (f"{_GROUP_PATH}.objectStore.memory", "1G"),
            ),
        ),
    ],
    "upgradeStrategy RollingUpdate is not built yet": [
        Broken("MantaCluster", (("upgradeStrategy.type", "RollingUpdate"),))
    ],
    "the cluster's name must be lower-case": [
        Broken("MantaCluster", (("metadata.name", "1st"),)),
        Broken("MantaCluster", (("metadata.name", "a.b"),)),
    ],
    "the cluster's name must have at most": [Broken("MantaCluster", (("metadata.name", "a" * 51),))],
    "pods are called": [
        Broken("MantaCluster", (("metadata.name", "a" * 30), (f"{_GROUP_PATH}.name", "b" * 28))),
    ],
    "the job's name must have": [Broken("MantaJob", (("metadata.name", "a" * 64),))],
}


@dataclass(frozen=True)
class Case:
    """One object, and what becomes of it.

    Attributes:
        name: What is tried.
        raw: The object.
        refused: A part of the API server's answer; empty if it accepts the object.
        parser_sees: Whether the parser refuses it too.
        before: What the object was, for a change; None for a new one.
        kept: For accepted ones: path from `spec`, and what must be there then.
    """

    name: str
    raw: dict[str, Any]
    refused: str = ""
    parser_sees: bool = True
    before: dict[str, Any] | None = None
    kept: tuple[str, Any] | None = None


def paths(definition: Definition) -> dict[str, Field]:
    """Every field below `spec`, by path; `[]` stands for any item of a list."""
    spec = next(one for one in fields_of(definition.resource) if one.name == "spec")
    return dict(_below(spec.kind, ""))


def _below(kind: type, prefix: str) -> Iterator[tuple[str, Field]]:
    for one in fields_of(kind):
        path = prefix + one.name
        yield path, one
        inner = item_of(one.kind) if is_list(one.kind) else one.kind
        if is_resource(inner):
            yield from _below(inner, f"{path}[]." if is_list(one.kind) else f"{path}.")


def own_rules(definition: Definition) -> list[Rule]:
    """Every rule that a class below the definition states itself."""
    kinds = [definition.resource]
    kinds += [item_of(one.kind) if is_list(one.kind) else one.kind for one in paths(definition).values()]
    return [rule for kind in dict.fromkeys(k for k in kinds if is_resource(k)) for rule in getattr(kind, "rules", ())]


def minimal(kind: str) -> dict[str, Any]:
    """The smallest object that is accepted, nearly: a cluster has a group."""
    return {
        "apiVersion": GROUP_VERSION,
        "kind": kind,
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": copy.deepcopy(SPECS[kind]),
    }


def changed(raw: dict[str, Any], *settings: tuple[str, Any]) -> dict[str, Any]:
    """A copy with fields set, by path; the objects and lists on the way are made."""
    raw = copy.deepcopy(raw)
    for path, value in settings:
        holder, last = _holder(raw, path)
        holder[last] = copy.deepcopy(value)
    return raw


def without(raw: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy without a field."""
    raw = copy.deepcopy(raw)
    holder, last = _holder(raw, path)
    holder.pop(last, None)
    return raw


def found(raw: dict[str, Any], path: str) -> Any:
    """What a field is; None if it is not there."""
    holder, last = _holder(copy.deepcopy(raw), path)
    return holder.get(last)


def _holder(raw: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *way, last = path.split(".")
    inner = raw if path.startswith("metadata.") else raw["spec"]
    for name in way:
        if name.endswith("[]"):
            items = inner.setdefault(name[:-2], [])
            if not items:
                items.append({})
            inner = items[0]
        else:
            inner = inner.setdefault(name, {})
    return inner, last


def field_cases(kind: str, path: str) -> Iterator[Case]:
    """Everything about one field."""
    one, row = paths(DEFINITIONS[kind])[path], FIELDS[kind][path]
    base = changed(minimal(kind), *row.beside)
    if one.about.not_built:
        yield Case("any value", changed(base, (path, row.good)), f"{one.name} is not built yet: {one.about.not_built}")
        return
    good = changed(base, (path, row.good))
    yield Case("a good value", good, kept=(path, row.good))
    yield from _absent_cases(one, path, base)
    yield from _value_cases(one, path, base, one.kind, lambda value: value)
    if one.about.immutable:
        says = f"{one.name} cannot change: {one.about.immutable}"
        yield Case("another value", changed(base, (path, row.other)), says, False, good)
        if not one.required and one.default is None:
            yield Case("taken away", base, says, False, good)
            yield Case("added later", good, says, False, base)
    elif (above := _immutable_above(kind, path)) is not None:
        yield Case("set later", good, f"{above.name} cannot change: {above.about.immutable}", False, base)
    else:
        yield Case("set later", good, before=base)


def _immutable_above(kind: str, path: str) -> Field | None:
    """The field that cannot change and that this one is a part of."""
    fields = paths(DEFINITIONS[kind])
    parts = path.split(".")
    above = (".".join(parts[:count]) for count in range(1, len(parts)))
    return next((fields[one] for one in above if one in fields and fields[one].about.immutable), None)


def _absent_cases(one: Field, path: str, base: dict[str, Any]) -> Iterator[Case]:
    missing, null = without(base, path), changed(base, (path, None))
    if path.endswith("[].name") and "imagePullSecrets" in path:
        missing = changed(base, ("imagePullSecrets", [{}]))
    for name, raw in (("missing", missing), ("null", null)):
        if one.required:
            yield Case(name, raw, "Required value")
        elif is_resource(one.kind) or one.default is None or one.default in ((), {}):
            yield Case(name, raw)
        else:
            yield Case(name, raw, kept=(path, render(one.default)))


def _value_cases(one: Field, path: str, base: dict[str, Any], kind: Any, wrap: Any) -> Iterator[Case]:
    """Wrong values; `wrap` puts one where a value of this kind stands: itself, or into a list or mapping."""
    about = one.about

    def case(name: str, value: Any, refused: str) -> Case:
        return Case(name, changed(base, (path, wrap(value))), refused)

    for name, value in _wrong_types(kind):
        yield case(name, value, "must be of type" if kind is not Quantity else "Invalid value")
    if is_list(kind) or is_mapping(kind):
        inner = item_of(kind)
        sample = _sample(inner, one)
        if about.max_items is not None:
            count = about.max_items + 1
            many = (
                [_numbered(sample, n) for n in range(count)]
                if is_list(kind)
                else {f"k{n}": sample for n in range(count)}
            )
            yield case("too many", many, f"must have at most {about.max_items} items")
        if about.key:
            yield case("twice the same", [sample, sample], "Duplicate value")
        if not is_resource(inner) and not is_json(inner):
            into = (lambda value: [value]) if is_list(kind) else (lambda value: {"k": value})
            yield from _value_cases(one, path, base, inner, into)
        return
    if kind in (int, float):
        if about.minimum is not None:
            yield case("too small", about.minimum - 1, f"should be greater than or equal to {about.minimum}")
        if about.maximum is not None:
            yield case("too large", about.maximum + 1, f"should be less than or equal to {about.maximum}")
            yield case("huge", 2**62, f"should be less than or equal to {about.maximum}")
    elif isinstance(kind, type) and issubclass(kind, StrEnum):
        yield case("none of the values", "no-such", "Unsupported value")
    elif kind is str or kind is Quantity:
        if about.max_length is not None:
            yield case("too long", "a" * (about.max_length + 1), f"may not be more than {about.max_length}")
        if about.min_length:
            yield case("empty", "", "should be at least 1 chars long")
        if about.pattern:
            for wrong in ("-1", "a b", "\u00e9", "a\nb"):
                if not re.fullmatch(about.pattern, wrong, re.ASCII):
                    yield case(f"{wrong!r}", wrong, about.pattern_says)


def _wrong_types(kind: Any) -> Iterator[tuple[str, Any]]:
    values = {
        "a text": "x",
        "a number": 7,
        "a fraction": 1.5,
        "a boolean": True,
        "a list": ["x"],
        "an object": {},
    }
    if is_resource(kind) or is_json(kind) or is_mapping(kind):
        right = {"an object"}
    elif is_list(kind):
        right = {"a list"}
    elif kind is bool:
        right = {"a boolean"}
    elif kind is int:
        right = {"a number"}
    elif kind is float:
        right = {"a number", "a fraction"}
    elif kind is Quantity:
        right = {"a text", "a number"}
    else:
        right = {"a text"}
    yield from ((name, value) for name, value in values.items() if name not in right)


def _sample(kind: Any, one: Field) -> Any:
    if kind is str:
        return "x"
    if kind is Quantity:
        return "1"
    if kind in (int, float):
        return 1
    if is_json(kind):
        return {}
    return {**(GROUP if one.name == "workerGroups" else {}), one.about.key: "x"}


def _numbered(sample: Any, number: int) -> Any:
    return {**sample, "name": f"x{number}"} if isinstance(sample, dict) and "name" in sample else sample


def rule_cases(message: str) -> Iterator[Case]:
    """Each way in `RULES` to break the rule of this message."""
    for row in next(rows for begin, rows in RULES.items() if message.startswith(begin)):
        before = changed(minimal(row.kind), *row.before) if row.before else None
        yield Case(str(row.set), changed(minimal(row.kind), *row.set), message, before is None, before)
