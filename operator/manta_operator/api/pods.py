"""Nouns that resources share: what a pod asks for, what is laid over it, how a resource says how it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from manta_operator.api import names, quantity
from manta_operator.api.field import Json, Quantity, Rule, field

_QUANTITIES = {"max_items": 16, **quantity.BOUNDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Another object in the same namespace."""

    name: str = field("Its name.", **names.OBJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a raylet's container may use, and with that what Manta may schedule there."""

    limits: Mapping[str, Quantity] = field(
        "The most that the container may use: cpu, memory, and devices such as nvidia.com/gpu.",
        default=dict,
        **_QUANTITIES,
    )
    requests: Mapping[str, Quantity] = field(
        "What is set aside for the container; the limits where this says nothing.", default=dict, **_QUANTITIES
    )

    def most(self, name: str) -> Quantity | None:
        """How much of something there is: the limit, else the request, else None."""
        return self.limits.get(name) or self.requests.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMetadata:
    """What pods are labelled with, beside the operator's own labels."""

    labels: Mapping[str, str] = field("Labels of the pods.", default=dict, max_items=64, max_length=63)
    annotations: Mapping[str, str] = field("Annotations of the pods.", default=dict, max_items=64, max_length=16384)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """An overlay over the pods that the operator makes.

    The API server checks the pod that comes out of it, strictly, before any is made: a field that does not exist is an
    `InvalidTemplate` in the status, with the server's own words.
    """

    metadata: TemplateMetadata = field("Labels and annotations.", default=TemplateMetadata)
    spec: Json | None = field(
        "A pod's spec, as far as it should differ: env, volumes, nodeSelector, affinity, tolerations, sidecars and so on. "
        "Containers are matched by name; the raylet's is called raylet. Sizes belong into resources.",
        default=None,
    )


class ConditionStatus(StrEnum):
    """Whether it is so."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that is so, or not, and why."""

    type: str = field("What is said, such as Ready.", min_length=1, max_length=316)
    status: ConditionStatus = field("Whether it is so.")
    reason: str = field(
        "Why, in one word.",
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        pattern_says="must be one word in CamelCase",
    )
    message: str = field("Why, for people.", max_length=32768)
    last_transition_time: str = field("Since when, in RFC 3339.", max_length=40)
    observed_generation: int | None = field("For which generation of the spec.", default=None, minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Of an object as the API server keeps it: what the operator reads of it. In no definition, as it is Kubernetes' own."""

    name: str = field("Its name.")
    namespace: str = field("Its namespace.")
    uid: str = field("Who it is: another object of the same name later has another.", default="")
    generation: int = field("Counts the changes of its spec.", default=0)
    resource_version: str = field("Changes with every change of it.", default="")
    deletion_timestamp: str | None = field("Since when it is being deleted; absent if it is not.", default=None)
    labels: Mapping[str, str] = field("Its labels.", default=dict)
    annotations: Mapping[str, str] = field("Its annotations.", default=dict)


def _less(which: str) -> str:
    """In CEL: the object store's memory is less than that of the limits or requests."""
    return f"quantity(string(self.objectStore.memory)).isLessThan(quantity(string(self.resources.{which}['memory'])))"


def below_memory(holder: str) -> Rule:
    """The object store's memory comes out of the container's: it must be less, or nothing is left for the heap.

    Args:
        holder: How messages call whose resources these are.
    """

    def holds(value: object) -> bool:
        store, resources = value.object_store.memory, value.resources  # type: ignore[attr-defined]
        most = resources.most("memory")
        return store is None or most is None or quantity.amount(store) < quantity.amount(most)

    return Rule(
        # The limit, else the request, else there is nothing to compare with.
        "!has(self.objectStore.memory) || "
        f"('memory' in self.resources.limits ? {_less('limits')} : "
        f"!('memory' in self.resources.requests) || {_less('requests')})",
        f"objectStore.memory must be less than the memory of {holder} in resources: the object store is a part of it",
        holds,
        ".objectStore.memory",
    )
