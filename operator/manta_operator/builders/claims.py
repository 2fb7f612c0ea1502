"""The claim on which the head keeps its state."""

from __future__ import annotations

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders.labels import Manifest


def claim(cluster: MantaCluster) -> Manifest | None:
    """The claim; None where the state is on an emptyDir, or on a claim of the user's own.

    With deletionPolicy Retain it has no owner, and outlives its cluster. Applied: then it grows with `size`, and its owner comes and
    goes with the policy.
    """
    raise NotImplementedError("manta_operator.builders.claims")


def claim_name(cluster: MantaCluster) -> str | None:
    """The claim that the head's pod mounts; None for an emptyDir."""
    raise NotImplementedError("manta_operator.builders.claims")
