"""What the operator itself shows to a cluster, and by what it knows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from manta.transport.certificates import Role
from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import labels
from manta_operator.builders.labels import Manifest
from manta_operator.credentials import content


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
    """The operator's, from the head's Secret; None as long as there is none that is whole.

    It changes while something is rotated: whoever keeps a connection makes another when it differs from the last.
    """
    name = labels.head_name(cluster)
    for secret in secrets:
        if secret["metadata"]["name"] == name:
            files = content.files(secret)
            tokens = (line.split() for line in files.get(content.TOKENS, b"").decode("ascii", "replace").splitlines())
            found = Access(
                cluster=cluster.metadata.uid,
                roots=files.get(content.BUNDLE, b""),
                certificate=files.get(f"{Role.WORKER}.crt", b""),
                key=files.get(f"{Role.WORKER}.key", b""),
                join_token=next(iter(files.get(content.JOIN_TOKEN, b"").decode("ascii", "replace").split()), ""),
                admin_token=next((words[1] for words in tokens if len(words) == 2 and words[0] == "admin"), ""),
            )
            if all((found.roots, found.certificate, found.key, found.join_token, found.admin_token)):
                return found
    return None
