"""MantaJob: a program that runs on a MantaCluster, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from manta_operator.api import names, quantity
from manta_operator.api.field import Json, Quantity, Rule, field
from manta_operator.api.pods import Condition, Metadata, Named

KIND = "MantaJob"

_SUBMITTED = "the job may have been submitted with it. Make another job"
#: Ten years: what is longer is a mistake in the unit.
_LONGEST_S = 315_360_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EntrypointResources:
    """What the driver itself needs."""

    cpu: Quantity | None = field("CPUs.", default=None, **quantity.BOUNDS)
    memory: Quantity | None = field("Memory.", default=None, **quantity.BOUNDS)
    gpu: Quantity | None = field("GPUs.", default=None, **quantity.BOUNDS)
    custom: Mapping[str, float] = field(
        "Resources of groups' customResources.", default=dict, max_items=32, minimum=0, maximum=1_000_000_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What is wanted."""

    cluster_ref: Named = field("The MantaCluster on which it runs, in the same namespace.", immutable=_SUBMITTED)
    entrypoint: str = field(
        "The command of the driver, for a shell.", min_length=1, max_length=16384, immutable=_SUBMITTED
    )
    runtime_env: Json | None = field(
        "The environment of the driver, as manta.init() takes it. A change after the submission changes nothing.",
        default=None,
    )
    entrypoint_resources: EntrypointResources = field(
        "What the driver itself needs; without any it runs on the head.",
        default=EntrypointResources,
        immutable=_SUBMITTED,
    )
    backoff_limit: int = field("How often it is tried again after it failed.", default=0, minimum=0, maximum=1000)
    active_deadline_seconds: int | None = field(
        "After how long it is stopped, all tries together.", default=None, minimum=1, maximum=_LONGEST_S
    )
    ttl_seconds_after_finished: int | None = field(
        "How long the object stays after its job has ended; absent: until somebody deletes it.",
        default=None,
        minimum=0,
        maximum=_LONGEST_S,
    )
    suspend: bool = field("Whether it waits, or is stopped if it runs.", default=False)
    cluster_spec: Json | None = field(
        "A cluster of its own.", default=None, not_built="make a MantaCluster, and name it in clusterRef"
    )
    managed_by: str | None = field(
        "Another controller that looks after this job.",
        default=None,
        max_length=63,
        not_built="leave it out; this operator looks after every MantaJob of the namespaces it watches",
    )


class JobPhase(StrEnum):
    """Where a job stands."""

    PENDING = "Pending"
    SUSPENDED = "Suspended"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What is."""

    observed_generation: int | None = field("For which generation of the spec this was said.", default=None)
    conditions: tuple[Condition, ...] = field(
        "Complete, Failed, Suspended; Reconciling while something is waited for and Stalled after a failure, for kstatus.",
        default=(),
        max_items=16,
        key="type",
    )
    phase: JobPhase | None = field("Where it stands.", default=None)
    submission_id: str | None = field("What the cluster calls it.", default=None, max_length=128)
    attempts: int = field("How often it was started.", default=0)
    failed: int = field("How many of these tries failed.", default=0)
    interrupted: int = field("How many of these tries were stopped by a suspension.", default=0)
    handed_to: str | None = field(
        "The memory of the head to which the next try is being handed.", default=None, max_length=64
    )
    next_attempt_time: str | None = field(
        "Before when it is not tried again, in RFC 3339.", default=None, max_length=40
    )
    start_time: str | None = field(
        "When it first ran, in RFC 3339; after a suspension: when it first ran since.", default=None, max_length=40
    )
    completion_time: str | None = field("When it ended, in RFC 3339.", default=None, max_length=40)
    exit_code: int | None = field("Of its driver.", default=None)
    message: str | None = field("Why it stands where it does, for people.", default=None, max_length=4096)
    log_tail: str | None = field("The end of its driver's output.", default=None, max_length=8192)


@dataclass(frozen=True, slots=True, kw_only=True)
class MantaJob:
    """A program that runs on a MantaCluster, once."""

    metadata: Metadata = field("Kubernetes' own.")
    spec: JobSpec = field("What is wanted.")

    rules: ClassVar = (
        Rule(
            f"size(self.metadata.name) <= {names.LABEL_LENGTH}",
            f"the job's name must have at most {names.LABEL_LENGTH} characters: it is a label of what belongs to it",
            lambda job: len(job.metadata.name) <= names.LABEL_LENGTH,
        ),
    )
