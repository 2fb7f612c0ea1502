"""What the operator itself shows to a cluster, and by what it knows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders.labels import Manifest


@dataclass(frozen=True, slots=True)
class Access:
    """For control's gRPC door and the dashboard of one cluster.

    Attributes:
        cluster: The cluster's name in certificates: control is `control.<cluster>.manta`.
        roots: PEM of the authorities that are trusted.
        certificate: PEM of what is shown, a node's.
        key: Its key.
        join_token: For control.
        admin_token: For gateway and dashboard.
    """

    cluster: str
    roots: bytes
    certificate: bytes
    key: bytes
    join_token: str
    admin_token: str


def access(cluster: MantaCluster, secrets: Iterable[Manifest]) -> Access | None:
    """The operator's, from the head's Secret; None as long as there is none that is whole."""
    raise NotImplementedError("manta_operator.credentials.access")
