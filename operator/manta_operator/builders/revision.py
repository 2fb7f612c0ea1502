"""When a pod is of another spec than the one that is wanted: a hash of what the user said, and of nothing else."""

from __future__ import annotations

from typing import Any

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.head import Head
from manta_operator.api.workers import WorkerGroup


def revision(cluster: MantaCluster, part: Head | WorkerGroup) -> str:
    """The revision of the head's pod, or of a group's pods. It goes into a label.

    Values that are as they would be if nobody had said them are left out: neither a new field with a default, nor another operator,
    makes a revision. How many replicas there are is no part of it.
    """
    raise NotImplementedError("manta_operator.builders.revision")


def said(value: Any) -> Any:
    """A value of our types as JSON, without what is as its default."""
    raise NotImplementedError("manta_operator.builders.revision")
