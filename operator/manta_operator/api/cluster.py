"""MantaCluster: a head and groups of workers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from manta_operator.api import names
from manta_operator.api.field import Json, Rule, field
from manta_operator.api.head import Head
from manta_operator.api.pods import Metadata, Named
from manta_operator.api.workers import WorkerGroup

KIND = "MantaCluster"


class AuthMode(StrEnum):
    """How drivers show who they are."""

    TOKEN = "token"  # noqa: S105 - the name of a mode
    KUBERNETES = "kubernetes"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Who may use the cluster."""

    mode: AuthMode = field(
        "How drivers show who they are: by the tokens of a Secret, or not at all. To drain nodes takes an admin's token always.",
        default=AuthMode.TOKEN,
    )
    existing_secret: str | None = field(
        "A Secret with tokens of your own, one key for each role: viewer, submitter, admin, join. Without it they are made.",
        default=None,
        **names.OBJECT,
    )

    rules: ClassVar = (
        Rule(
            "self.mode != 'kubernetes'",
            'auth mode kubernetes is not built yet: use "token", or "none" where the network is trusted',
            lambda auth: auth.mode is not AuthMode.KUBERNETES,
            ".mode",
        ),
        Rule(
            "!has(self.existingSecret) || self.mode == 'token'",
            'existingSecret holds tokens, so it goes with mode "token" alone',
            lambda auth: auth.existing_secret is None or auth.mode is AuthMode.TOKEN,
            ".existingSecret",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Encryption between the cluster's pods, and to its drivers."""

    enabled: bool = field("Whether connections are encrypted and each side shows a certificate.", default=True)
    existing_secret: str | None = field(
        "A Secret with an authority of your own (tls.crt, tls.key), which then signs the cluster's certificates.",
        default=None,
        **names.OBJECT,
    )
    extra_sans: tuple[str, ...] = field(
        "Further names and addresses under which drivers reach the gateway.",
        default=(),
        name="extraSANs",
        max_items=32,
        min_length=1,
        max_length=253,
        pattern=names.HOST,
        pattern_says=names.HOST_SAYS,
    )

    rules: ClassVar = (
        Rule(
            "!has(self.existingSecret) || self.enabled",
            "existingSecret holds an authority, which nothing uses while tls is not enabled",
            lambda tls: tls.existing_secret is None or tls.enabled,
            ".existingSecret",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicy:
    """Who may connect to the cluster's pods, where the network enforces it."""

    enabled: bool = field("Whether the operator makes NetworkPolicies.", default=True)
    extra_ingress: tuple[Json, ...] = field(
        "Further rules for connections to the gateway and the dashboard, as in a NetworkPolicy's ingress.",
        default=(),
        max_items=32,
    )
    extra_egress: tuple[Json, ...] = field(
        "If there are any, the pods may connect to one another and where these say, as in a NetworkPolicy's egress; "
        "without, to everywhere.",
        default=(),
        max_items=32,
    )


class UpgradeType(StrEnum):
    """How pods get to a new spec."""

    RECREATE = "Recreate"
    ROLLING_UPDATE = "RollingUpdate"
    ON_DELETE = "OnDelete"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeStrategy:
    """How pods get to a new spec."""

    type: UpgradeType = field(
        "Recreate: pods of the old spec are drained and replaced. OnDelete: each stays until it is deleted.",
        default=UpgradeType.RECREATE,
    )

    rules: ClassVar = (
        Rule(
            "self.type != 'RollingUpdate'",
            'upgradeStrategy RollingUpdate is not built yet: use "Recreate", or "OnDelete" and delete pods one by one',
            lambda strategy: strategy.type is not UpgradeType.ROLLING_UPDATE,
            ".type",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """What is wanted."""

    image: str = field(
        "The image of every pod, with the Python and the packages that tasks need.",
        min_length=1,
        max_length=512,
        pattern=r"^[^\s]+$",
        pattern_says="must be an image's name, without spaces",
    )
    image_pull_secrets: tuple[Named, ...] = field(
        "Secrets with which the image is pulled.", default=(), max_items=16, key="name"
    )
    suspend: bool = field(
        "Whether the cluster has no pods for now. Its storage and its credentials stay.", default=False
    )
    auth: Auth = field("Who may use the cluster.", default=Auth)
    tls: Tls = field("Encryption between the cluster's pods, and to its drivers.", default=Tls)
    network_policy: NetworkPolicy = field("Who may connect to the cluster's pods.", default=NetworkPolicy)
    head: Head = field("The pod with the cluster's memory and its doors.", default=Head)
    worker_groups: tuple[WorkerGroup, ...] = field("Groups of workers.", default=(), max_items=20, key="name")
    upgrade_strategy: UpgradeStrategy = field("How pods get to a new spec.", default=UpgradeStrategy)
    autoscaling: Json | None = field(
        "Workers by demand.", default=None, not_built="leave it out, and set replicas of the groups"
    )
    idle_suspend_seconds: int | None = field(
        "After how long without work the cluster is suspended.",
        default=None,
        not_built="leave it out, and set suspend when the cluster is not needed",
    )
    managed_by: str | None = field(
        "Another controller that looks after this cluster.",
        default=None,
        max_length=63,
        not_built="leave it out; this operator looks after every MantaCluster of the namespaces it watches",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MantaCluster:
    """A Manta cluster: a head, and groups of workers."""

    metadata: Metadata = field("Kubernetes' own.")
    spec: ClusterSpec = field("What is wanted.")

    rules: ClassVar = (
        Rule(
            f"self.metadata.name.matches('{names.LABEL}')",
            f"the cluster's name {names.LABEL_SAYS}: its Services are named after it",
            lambda cluster: names.is_label(cluster.metadata.name),
        ),
        Rule(
            f"size(self.metadata.name) <= {names.CLUSTER_LENGTH}",
            f"the cluster's name must have at most {names.CLUSTER_LENGTH} characters: "
            "its Services' names are longer, and may have 63",
            lambda cluster: len(cluster.metadata.name) <= names.CLUSTER_LENGTH,
        ),
        Rule(
            f"self.spec.workerGroups.all(group, size(self.metadata.name) + size(group.name) <= {names.POD_NAME_PARTS})",
            "pods are called <cluster>-<group>-<number> and may have 63 characters: "
            f"the cluster's and a group's name may have {names.POD_NAME_PARTS} together",
            lambda cluster: all(
                len(cluster.metadata.name) + len(group.name) <= names.POD_NAME_PARTS
                for group in cluster.spec.worker_groups
            ),
        ),
    )
