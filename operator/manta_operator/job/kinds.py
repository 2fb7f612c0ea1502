"""The kinds of objects that a MantaJob's controller reads."""

from __future__ import annotations

from manta_operator.api import cluster, job, names
from manta_operator.kube.resources import Resource

JOBS = Resource(names.GROUP, names.VERSION, "mantajobs", job.KIND)
CLUSTERS = Resource(names.GROUP, names.VERSION, "mantaclusters", cluster.KIND)


def submitter_name(cluster: str) -> str:
    """The Secret with a submitter's token and the authority's certificate."""
    return f"{cluster}-submitter"
