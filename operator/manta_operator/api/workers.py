"""The groups of workers of a MantaCluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from manta_operator.api import names, quantity
from manta_operator.api.field import Quantity, Rule, field
from manta_operator.api.pods import Resources, Template, below_memory

_INSTEAD = (
    "leave spill out, and give the group more objectStore.memory: until then, whoever makes objects waits for room"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spill:
    """Where objects go when memory is full. An empty one is none: the API server has written it into objects as a default."""

    size: Quantity | None = field("The most that may lie there.", default=None, not_built=_INSTEAD, **quantity.BOUNDS)
    path: str | None = field("A folder that the template mounts.", default=None, max_length=4096, not_built=_INSTEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStore:
    """The shared memory of a group's nodes."""

    memory: Quantity | None = field(
        "How much of the container's memory; 30 % where this is not said.", default=None, **quantity.BOUNDS
    )
    spill: Spill = field("Where objects go when memory is full. Not built yet.", default=Spill)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGroup:
    """Workers that are alike."""

    name: str = field(
        "A part of its pods' names.",
        min_length=1,
        max_length=names.GROUP_LENGTH,
        pattern=names.LABEL,
        pattern_says=names.LABEL_SAYS,
    )
    replicas: int = field("How many there are.", default=1, minimum=0, maximum=names.MOST_REPLICAS)
    min_replicas: int | None = field(
        "The fewest that replicas may say.", default=None, minimum=0, maximum=names.MOST_REPLICAS
    )
    max_replicas: int | None = field(
        "The most that replicas may say.", default=None, minimum=0, maximum=names.MOST_REPLICAS
    )
    resources: Resources = field(
        "Of each worker's raylet. The only statement of its size: logical CPUs, GPUs and memory follow from it."
    )
    labels: Mapping[str, str] = field(
        "Labels of the nodes for Manta's scheduling (label_selector).", default=dict, max_items=32, max_length=63
    )
    custom_resources: Mapping[str, float] = field(
        "Resources that only their name means something of, with how much each node has.",
        default=dict,
        max_items=32,
        minimum=0,
        maximum=1_000_000_000,
    )
    object_store: ObjectStore = field("The shared memory of each node.", default=ObjectStore)
    template: Template = field("Laid over each of its pods.", default=Template)

    rules: ClassVar = (
        Rule(
            "self.name != 'head'",
            'a group cannot be called "head": the head is',
            lambda group: group.name != "head",
            ".name",
        ),
        Rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "minReplicas must not be more than maxReplicas",
            lambda group: (
                group.min_replicas is None or group.max_replicas is None or group.min_replicas <= group.max_replicas
            ),
            ".minReplicas",
        ),
        Rule(
            "(!has(self.minReplicas) || self.minReplicas <= self.replicas) && "
            "(!has(self.maxReplicas) || self.replicas <= self.maxReplicas)",
            "replicas must be between minReplicas and maxReplicas",
            lambda group: (
                (group.min_replicas is None or group.min_replicas <= group.replicas)
                and (group.max_replicas is None or group.replicas <= group.max_replicas)
            ),
            ".replicas",
        ),
        Rule(
            "'cpu' in self.resources.limits || 'cpu' in self.resources.requests",
            "resources must say how much cpu a worker has, in limits or in requests",
            lambda group: group.resources.most("cpu") is not None,
            ".resources",
        ),
        Rule(
            "'memory' in self.resources.limits || 'memory' in self.resources.requests",
            "resources must say how much memory a worker has, in limits or in requests",
            lambda group: group.resources.most("memory") is not None,
            ".resources",
        ),
        below_memory("the worker"),
    )
