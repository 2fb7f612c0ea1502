"""Our custom resources as kinds of objects, and which objects of other kinds are ours."""

from __future__ import annotations

from typing import Any

from manta_operator import warned
from manta_operator.api import cluster, job
from manta_operator.api.definitions import CLUSTER, JOB
from manta_operator.api.names import GROUP, VERSION
from manta_operator.builders.labels import CLUSTER as CLUSTER_LABEL
from manta_operator.builders.labels import MANAGED_BY
from manta_operator.kube import trimming
from manta_operator.kube.caches import Cached, Caches
from manta_operator.kube.resources import (
    CLAIMS,
    EVENTS,
    NETWORK_POLICIES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)
from manta_operator.kube.store import label, owners
from manta_operator.kube.writer import MANAGER

CLUSTERS = Resource(GROUP, VERSION, CLUSTER.plural, cluster.KIND)
JOBS = Resource(GROUP, VERSION, JOB.plural, job.KIND)

#: Of the objects that the operator made.
OURS = f"{MANAGED_BY}={MANAGER}"

#: Indexes of children's stores.
BY_OWNER, BY_CLUSTER, BY_NODE = "owner", "cluster", "node"

#: The container whose size is the node's, and the variable with the size of its object store.
RAYLET, STORE = "raylet", "MANTA_OBJECT_STORE_BYTES"

#: What a cluster is made of.
CHILDREN = (PODS, SERVICES, SECRETS, CLAIMS, NETWORK_POLICIES, SERVICE_ACCOUNTS)


def cached(*, nodes: bool) -> list[Cached]:
    """The kinds of which the operator has copies.

    Args:
        nodes: Whether it may look at nodes, which are in no namespace.
    """
    indexes = {BY_OWNER: owners, BY_CLUSTER: label(CLUSTER_LABEL)}
    kinds = [Cached(CLUSTERS, indexes={warned.BY_CLAIM: warned.claimed}), Cached(JOBS)]
    for resource in CHILDREN:
        if resource is PODS:
            on_node = {BY_NODE: lambda pod: [name] if (name := pod["spec"].get("nodeName")) else []}
            kinds.append(Cached(PODS, OURS, {**indexes, **on_node}, _pod))
        else:
            kinds.append(Cached(resource, OURS, indexes))
    if nodes:
        kinds.append(Cached(NODES, trim=trimming.node, needed=False))
    about = {warned.BY_ABOUT: warned.about}
    kinds.append(
        Cached(EVENTS, "", about, warned.trim, needed=False, fields=warned.FIELDS, keep=_warns, bookmarks=False)
    )
    return kinds


def _warns(copies: Caches, event: dict[str, Any]) -> bool:
    return warned.keeps(copies[CLUSTERS], copies[EVENTS], event)


def _pod(pod: dict[str, Any]) -> dict[str, Any]:
    """A pod as it is kept, with how large its raylet is: what `cluster.totals` reads."""
    trimmed = trimming.pod(pod)
    raylets = [one for one in pod["spec"].get("containers") or () if one.get("name") == RAYLET]
    trimmed["spec"]["containers"] = [
        {
            "name": RAYLET,
            "resources": one.get("resources") or {},
            "env": [entry for entry in one.get("env") or () if entry.get("name") == STORE],
        }
        for one in raylets
    ]
    return trimmed
