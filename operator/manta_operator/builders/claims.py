"""The claim on which the head keeps its state."""

from __future__ import annotations

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.head import DeletionPolicy, StorageType
from manta_operator.builders import labels
from manta_operator.builders.labels import Manifest


def claim(cluster: MantaCluster) -> Manifest | None:
    """The claim; None where the state is on an emptyDir, or on a claim of the user's own.

    With deletionPolicy Retain it has no owner and outlives its cluster. Applied, never created: so it grows with `size`, and its
    owner comes and goes with the policy.
    """
    storage = cluster.spec.head.storage
    if storage.type is not StorageType.PVC or storage.existing_claim is not None:
        return None
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(storage.size)}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": labels.metadata(
            cluster, labels.head_name(cluster), owned=storage.deletion_policy is DeletionPolicy.DELETE
        ),
        "spec": spec,
    }


def claim_name(cluster: MantaCluster) -> str | None:
    """The claim that the head's pod mounts; None for an emptyDir."""
    storage = cluster.spec.head.storage
    if storage.type is StorageType.EMPTY_DIR:
        return None
    return storage.existing_claim or labels.head_name(cluster)
