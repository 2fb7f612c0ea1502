"""The head of a MantaCluster: its storage, its Service, its raylet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from manta_operator.api import names, quantity
from manta_operator.api.field import Quantity, Rule, field
from manta_operator.api.pods import Resources, Template

_MOVE_DATA = "the head's data would not move along. Make another cluster"


class StorageType(StrEnum):
    """What the head's state is kept on."""

    PVC = "pvc"
    EMPTY_DIR = "emptyDir"


class DeletionPolicy(StrEnum):
    """What happens to a claim when its cluster is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where the head keeps what outlives it: jobs, actors' specs, the key-value store."""

    type: StorageType = field(
        "pvc: a volume that a new head finds again. emptyDir: a new head begins a new session.",
        default=StorageType.PVC,
        immutable=_MOVE_DATA,
    )
    size: Quantity = field("Of the claim, or the most that the emptyDir may hold.", default="1Gi", **quantity.BOUNDS)
    storage_class_name: str | None = field(
        "Of the claim; the cluster's default class where this is not said.",
        default=None,
        immutable=_MOVE_DATA,
        **names.OBJECT,
    )
    existing_claim: str | None = field(
        "A PersistentVolumeClaim of your own; it is never deleted.", default=None, immutable=_MOVE_DATA, **names.OBJECT
    )
    deletion_policy: DeletionPolicy = field(
        "What happens to the claim that the operator made when the cluster is deleted.", default=DeletionPolicy.DELETE
    )

    rules: ClassVar = (
        Rule(
            "!has(self.existingClaim) || self.type == 'pvc'",
            'existingClaim goes with type "pvc" alone',
            lambda storage: storage.existing_claim is None or storage.type is StorageType.PVC,
            ".existingClaim",
        ),
        Rule(
            "!has(self.storageClassName) || (self.type == 'pvc' && !has(self.existingClaim))",
            'storageClassName is for the claim that is made: it goes with type "pvc" and without existingClaim',
            lambda storage: (
                storage.storage_class_name is None
                or (storage.type is StorageType.PVC and storage.existing_claim is None)
            ),
            ".storageClassName",
        ),
        Rule(
            "!quantity(string(self.size)).isLessThan(quantity(string(oldSelf.size)))",
            "size can grow and never shrink, as volumes do",
            None,
            ".size",
        ),
    )


class ServiceType(StrEnum):
    """How a Service is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadService:
    """How drivers and browsers reach the head."""

    type: ServiceType = field(
        "From where: inside of Kubernetes, its nodes, or outside.", default=ServiceType.CLUSTER_IP
    )
    annotations: Mapping[str, str] = field(
        "Of the Service, such as a load balancer's settings.", default=dict, max_items=64, max_length=16384
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRaylet:
    """Whether tasks run on the head."""

    enabled: bool = field(
        "Whether the head's pod has a raylet: jobs' drivers run there unless they ask for resources.", default=True
    )


def _head_resources() -> Resources:
    return Resources(limits={"cpu": Quantity("1"), "memory": Quantity("2Gi")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The pod with the cluster's memory and its doors."""

    resources: Resources = field("Of the head's raylet.", default=_head_resources)
    storage: Storage = field("Where the head keeps what outlives it.", default=Storage)
    template: Template = field("Laid over the head's pod.", default=Template)
    service: HeadService = field("How drivers and browsers reach the head.", default=HeadService)
    raylet: HeadRaylet = field("Whether tasks run on the head.", default=HeadRaylet)
