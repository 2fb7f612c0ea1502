"""Everything that is known about one MantaJob at one moment: what `plan` decides from, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from manta_operator.api.job import JobStatus, MantaJob
from manta_operator.heads.jobs import HeadJob

#: While an object has it, its job may run on a head: it is stopped before the object goes.
FINALIZER: Final = "manta.compute/stop-job"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSeen:
    """The MantaCluster that a job names.

    Attributes:
        going: It is being deleted, with all that runs on it.
        suspended: It is to have no pods for now.
        reason: Why it is not ready, in one word; empty if it is, or has not said.
        message: The same, for people.
    """

    going: bool = False
    suspended: bool = False
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSeen:
    """The head of that cluster.

    Attributes:
        synced: What it does not have in `jobs` does not exist there. False while it is not being listened to.
        patience_until: Until when it is too early to say that it cannot be heard: it was, a moment ago, or is just being
            dialled.
        memory: Name of its memory: if it is another than the one to which a try was handed, that one is forgotten.
        jobs: What was last heard of this job's tries, by submission id.
    """

    synced: bool = False
    memory: str = ""
    patience_until: float = 0.0
    jobs: Mapping[str, HeadJob] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a head said instead of taking a submission.

    Attributes:
        submission_id: Which one.
        code: The head's word for it.
        message: Its words.
        final: It will never take it.
        again_at: When to ask again, in seconds since 1970.
    """

    submission_id: str
    code: str
    message: str
    final: bool
    again_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One job.

    Attributes:
        job: The object.
        status: What was last said of it.
        held: Whether it has our finalizer.
        cluster: The cluster that it names; None if there is none.
        head: That cluster's head.
        refusal: What the head last refused of it, if nothing has happened since.
    """

    job: MantaJob
    status: JobStatus = field(default_factory=JobStatus)
    held: bool = False
    cluster: ClusterSeen | None = None
    head: HeadSeen = field(default_factory=HeadSeen)
    refusal: Refusal | None = None
