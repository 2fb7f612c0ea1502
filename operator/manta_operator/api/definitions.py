"""The definitions of all kinds, and the files below `charts/` in which they are checked in."""

from __future__ import annotations

from pathlib import Path

import yaml

from manta_operator.api import cluster, job
from manta_operator.api.cluster import MantaCluster
from manta_operator.api.cluster_status import ClusterStatus
from manta_operator.api.crd import Column, Definition, definition_manifest
from manta_operator.api.job import JobStatus, MantaJob

#: Where the charts' sub-chart of definitions has them, from the root of the checkout.
FOLDER = Path("charts/manta-operator/charts/manta-crds/templates")

_AGE = Column("Age", ".metadata.creationTimestamp", "Since when it exists.", "date")

CLUSTER = Definition(
    cluster.KIND,
    "mc",
    MantaCluster,
    ClusterStatus,
    (
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status", "Whether it can be used as it was wanted."),
        Column("Workers", ".status.workers", "Ready and wanted workers."),
        Column("CPU", ".status.resources.cpu", "CPUs of the ready workers."),
        Column("Memory", ".status.resources.memory", "Memory of the ready workers."),
        Column("ObjectStore", ".status.resources.objectStore", "Shared memory of the ready workers."),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", "Why it is ready or not.", wide=True),
        _AGE,
    ),
)

JOB = Definition(
    job.KIND,
    "mj",
    MantaJob,
    JobStatus,
    (
        Column("Status", ".status.phase", "Where it stands."),
        Column("Cluster", ".spec.clusterRef.name", "Where it runs."),
        Column("Attempts", ".status.attempts", "How often it was started.", "integer"),
        Column("Exit", ".status.exitCode", "Of its driver.", "integer", wide=True),
        Column("Submission", ".status.submissionId", "What the cluster calls it.", wide=True),
        _AGE,
    ),
)

ALL = (CLUSTER, JOB)

_HEAD = """\
# Made from operator/manta_operator/api by `python -m manta_operator.api`; a test compares. Change the types, not this file.
"""


def as_yaml(definition: Definition) -> str:
    """The file of a definition, to the byte."""
    manifest = definition_manifest(definition)
    return _HEAD + yaml.safe_dump(manifest, sort_keys=False, width=120, allow_unicode=True)


def file_of(definition: Definition, root: Path) -> Path:
    """Where it is checked in."""
    return root / FOLDER / f"{definition.plural}.yaml"
