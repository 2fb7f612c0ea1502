"""Everything of a cluster that is applied: it follows the spec, and writing it again is the same."""

from __future__ import annotations

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders.accounts import account
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest
from manta_operator.builders.policies import policies
from manta_operator.builders.services import services


def applied(cluster: MantaCluster, build: Build) -> tuple[Manifest, ...]:
    """ServiceAccount, Services, NetworkPolicies, in an order in which they may be made.

    What is not in it and bears the cluster's owner reference (a policy that was switched off) is to be deleted. The claim
    (`claims.claim`) is not in it: one that an earlier cluster of that name has retained may be there, without an owner.
    """
    return (account(cluster), *services(cluster), *policies(cluster, build))
