"""The NetworkPolicies of a cluster."""

from __future__ import annotations

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest


def policies(cluster: MantaCluster, build: Build) -> tuple[Manifest, ...]:
    """Who may connect to the head and to the workers; none where the spec wants none."""
    raise NotImplementedError("manta_operator.builders.policies")
