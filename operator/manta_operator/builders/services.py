"""The Services of a cluster."""

from __future__ import annotations

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders.labels import Manifest


def services(cluster: MantaCluster) -> tuple[Manifest, ...]:
    """Where workers find control, and where drivers and browsers find their doors."""
    raise NotImplementedError("manta_operator.builders.services")
