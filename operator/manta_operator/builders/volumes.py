"""The folders of a pod's containers. The root file system is read-only; what is written, is written here."""

from __future__ import annotations

from typing import Any

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import labels
from manta_operator.builders.claims import claim_name

CREDENTIALS = "/etc/manta/credentials"
SESSION = "/run/manta"
PRIVATE = "/run/manta-private"
STATE = "/var/lib/manta"
TMP = "/tmp"  # noqa: S108 - the container's own volume

#: Certificates, keys and tokens are some ten files of a few KB, and memory is charged for them.
_PRIVATE_LIMIT = "4Mi"
#: Readable for the group, which is the pod's fsGroup, and for nobody else.
_SECRET_MODE = 0o440


def mounts(container: str) -> list[dict[str, Any]]:
    """Where a container of ours has what.

    A raylet's container runs user code, and the head's others do not: they share the session's folder, where the raylet's socket
    is, and nothing else. Control does not even have that one.
    """
    raylet = container == "raylet"
    found: list[dict[str, Any]] = [
        {"name": "credentials-node" if raylet else "credentials-head", "mountPath": CREDENTIALS, "readOnly": True},
        {"name": f"private-{container}", "mountPath": PRIVATE},
        {"name": f"tmp-{container}", "mountPath": TMP},
    ]
    if container == "control":
        # In a folder of its own: beside it a new file system has its `lost+found`.
        found.append({"name": "state", "mountPath": STATE, "subPath": container})
    else:
        found.append({"name": "session", "mountPath": SESSION})
    return found


def told(container: str) -> list[dict[str, Any]]:
    """Where a container's tools look for the cluster: `kubectl exec ... -- manta status` gets the container's own variables."""
    return [] if container == "control" else [{"name": "MANTA_TMPDIR", "value": SESSION}]


def volumes(cluster: MantaCluster, containers: tuple[str, ...]) -> list[dict[str, Any]]:
    """The volumes of a pod with these containers of ours."""
    name = cluster.metadata.name
    found = [_secret("credentials-node", labels.join_name(name))]
    if "control" in containers:
        found += [_secret("credentials-head", labels.head_name(cluster)), _state(cluster)]
    found.append({"name": "session", "emptyDir": {}})
    for container in containers:
        found.append({"name": f"private-{container}", "emptyDir": {"medium": "Memory", "sizeLimit": _PRIVATE_LIMIT}})
        found.append({"name": f"tmp-{container}", "emptyDir": {}})
    return found


def _secret(volume: str, secret: str) -> dict[str, Any]:
    # Whole, never by subPath: a file mounted by subPath never changes when its Secret does.
    return {"name": volume, "secret": {"secretName": secret, "defaultMode": _SECRET_MODE}}


def _state(cluster: MantaCluster) -> dict[str, Any]:
    claim = claim_name(cluster)
    if claim is None:
        return {"name": "state", "emptyDir": {"sizeLimit": str(cluster.spec.head.storage.size)}}
    return {"name": "state", "persistentVolumeClaim": {"claimName": claim}}
