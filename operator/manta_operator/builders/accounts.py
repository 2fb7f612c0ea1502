"""The ServiceAccount of a cluster's pods."""

from __future__ import annotations

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import labels
from manta_operator.builders.labels import Manifest


def account(cluster: MantaCluster) -> Manifest:
    """One that may do nothing: user code finds no token to speak to Kubernetes with."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": labels.metadata(cluster, cluster.metadata.name),
        "automountServiceAccountToken": False,
    }
