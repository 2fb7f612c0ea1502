"""What the objects of a cluster are called and labelled with, and by what they are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manta_operator.api import names
from manta_operator.api.cluster import KIND, MantaCluster

#: An object as the API server is to have it.
Manifest = dict[str, Any]

#: Field manager, and who manages, as other tools show it.
MANAGER = "manta-operator"
#: The head's group: no group of workers is called so.
HEAD = "head"

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"
CLUSTER = "manta.compute/cluster"
GROUP = "manta.compute/group"
SLOT = "manta.compute/slot"
#: A label, to find pods of an old spec, and an annotation, by which `kube.ownership` tells whose an object is.
REVISION = "manta.compute/revision"
#: Whose a Secret is: viewer, submitter, admin; on Secrets for people alone.
ROLE = "manta.compute/role"

#: Annotations that people set on a MantaCluster. A new value of the first replaces its pods, of the second its certificates, of
#: the third its tokens.
RESTART = "manta.compute/restart"
ROTATE = "manta.compute/rotate"
ROTATE_TOKENS = "manta.compute/rotate-tokens"

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

#: Ports, by the names that containers give them.
PORTS: Mapping[str, int] = {
    "control": 7600,
    "channel": 7610,
    "gateway": 7620,
    "dashboard": 8265,
    "metrics": 8090,
    "metrics-control": 8091,
    "metrics-gateway": 8092,
    "metrics-dashb": 8093,  # a port's name has at most 15 characters
}


def join_name(cluster: str) -> str:
    """The Service at which workers find control, and the Secret with what a worker needs."""
    return f"{cluster}-join"


def gateway_name(cluster: str) -> str:
    """The Service for drivers."""
    return f"{cluster}-gateway"


def dashboard_name(cluster: str) -> str:
    """The Service for browsers, and for submitting jobs."""
    return f"{cluster}-dashboard"


def authority_name(cluster: str) -> str:
    """The Secret that the operator alone reads."""
    return f"{cluster}-authority"


def role_secret_name(cluster: str, role: str) -> str:
    """The Secret for people of a role."""
    return f"{cluster}-{role}"


def workers_policy_name(cluster: str) -> str:
    """The NetworkPolicy of the workers."""
    return f"{cluster}-workers"


def pod_name(cluster: MantaCluster, group: str, slot: int) -> str:
    """The name of a worker's pod."""
    return names.pod_name(cluster.metadata.name, group, slot)


def head_name(cluster: MantaCluster) -> str:
    """The head's pod; its Secret, claim and NetworkPolicy are called the same."""
    return names.head_name(cluster.metadata.name)


def common(cluster: MantaCluster) -> dict[str, str]:
    """Labels of everything that belongs to a cluster."""
    name = cluster.metadata.name
    return {NAME: "manta", INSTANCE: name, MANAGED_BY: MANAGER, CLUSTER: name}


def selector(cluster: MantaCluster, component: str = "") -> dict[str, str]:
    """Labels by which its pods are found: all of them, or the head's (`head`), or the workers' (`worker`)."""
    found = {NAME: "manta", CLUSTER: cluster.metadata.name}
    return {**found, COMPONENT: component} if component else found


def owner(cluster: MantaCluster) -> dict[str, Any]:
    """The reference by which an object goes with its cluster."""
    return {
        "apiVersion": names.GROUP_VERSION,
        "kind": KIND,
        "name": cluster.metadata.name,
        "uid": cluster.metadata.uid,
        "controller": True,
        # Deleting a cluster in the foreground waits for what belongs to it.
        "blockOwnerDeletion": True,
    }


def metadata(
    cluster: MantaCluster,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owned: bool = True,
) -> dict[str, Any]:
    """The metadata of an object of a cluster.

    Args:
        cluster: Whose.
        name: The object's.
        labels: Beside the common ones.
        annotations: All of them.
        owned: Whether it goes with its cluster.
    """
    said: dict[str, Any] = {
        "name": name,
        "namespace": cluster.metadata.namespace,
        "labels": {**common(cluster), **(labels or {})},
    }
    if annotations:
        said["annotations"] = dict(annotations)
    if owned:
        said["ownerReferences"] = [owner(cluster)]
    return said
