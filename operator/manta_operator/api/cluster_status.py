"""What the operator says of a MantaCluster."""

from __future__ import annotations

from dataclasses import dataclass

from manta_operator.api import names
from manta_operator.api.field import field
from manta_operator.api.pods import Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """How a group is."""

    name: str = field("Which group.", max_length=names.GROUP_LENGTH)
    desired: int = field("How many workers are wanted.", default=0)
    ready: int = field("How many do their work.", default=0)
    updated: int = field("How many have the current spec.", default=0)
    pending: int = field("How many have no node yet, or are starting.", default=0)
    terminating: int = field("How many are going.", default=0)
    reason: str | None = field("Why not all are ready, in one word.", default=None, max_length=64)
    message: str | None = field("The same, for people.", default=None, max_length=1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStatus:
    """How the head is."""

    pod_name: str | None = field("Its pod.", default=None, max_length=63)
    ready: bool = field("Whether it serves.", default=False)
    restarts: int = field("How often its containers were restarted.", default=0)
    last_failure: str | None = field("Why it ended last, if it did.", default=None, max_length=1024)
    reason: str | None = field(
        "What is wrong with it, in one word. Of one that serves too: what ended in it for want of memory lately.",
        default=None,
        max_length=64,
    )
    message: str | None = field("The same, for people.", default=None, max_length=1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the ready workers have together."""

    cpu: str | None = field("CPUs.", default=None, max_length=32)
    memory: str | None = field("Memory.", default=None, max_length=32)
    gpu: str | None = field("GPUs.", default=None, max_length=32)
    object_store: str | None = field("Shared memory for objects.", default=None, max_length=32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the cluster is reached from inside of Kubernetes."""

    gateway: str | None = field("For manta.init().", default=None, max_length=512)
    dashboard: str | None = field("For browsers, and for submitting jobs.", default=None, max_length=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """What is."""

    observed_generation: int | None = field("For which generation of the spec this was said.", default=None)
    conditions: tuple[Condition, ...] = field(
        "Available, Ready, UpToDate, Progressing, Degraded, Suspended.", default=(), max_items=16, key="type"
    )
    workers: str | None = field("Ready and wanted workers, as 2/3.", default=None, max_length=32)
    groups: tuple[GroupStatus, ...] = field("Each group.", default=(), max_items=64, key="name")
    head: HeadStatus = field("The head.", default=HeadStatus)
    resources: Totals = field("What the ready workers have together.", default=Totals)
    endpoints: Endpoints = field("Where the cluster is reached.", default=Endpoints)
