"""Everything of a cluster that is applied: it follows the spec, and writing it again is the same."""

from __future__ import annotations

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest


def applied(cluster: MantaCluster, build: Build) -> tuple[Manifest, ...]:
    """ServiceAccount, Services, NetworkPolicies, in an order in which they may be made.

    What is not in it and bears the cluster's owner reference (a policy that was switched off) is to be deleted. The claim is not in
    it (`claims.claim`): it is created once and afterwards only grown.
    """
    raise NotImplementedError("manta_operator.builders.children")
