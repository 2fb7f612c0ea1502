"""Reads everything that is known about one cluster: from copies, from the tie to its control, and little from the API server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.names import head_name
from manta_operator.api.parse import InvalidObjectError, parse_cluster
from manta_operator.builders.labels import GROUP, Manifest
from manta_operator.cluster.memory import Memory
from manta_operator.cluster.seen import Control, ControlNode, Drain, Seen, named
from manta_operator.control.access import access_of
from manta_operator.control.links import Link, Links
from manta_operator.control.nodes import Draining, Node, NodeState
from manta_operator.credentials.access import access as credentials
from manta_operator.kinds import BY_CLUSTER, BY_OWNER, CLUSTERS
from manta_operator.kube.caches import Caches
from manta_operator.kube.errors import ApiError
from manta_operator.kube.resources import (
    CLAIMS,
    EVENTS,
    NETWORK_POLICIES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Key,
    Resource,
    key_of,
)
from manta_operator.kube.transport import Transport
from manta_operator.warned import BY_ABOUT

#: One read.
READ_S = 5.0

_DRAINS = {Draining.NO: Drain.NONE, Draining.DRAINING: Drain.DRAINING, Draining.DRAINED: Drain.DRAINED}


class Gatherer:
    """Reads for plans.

    Args:
        caches: The copies.
        transport: For what is not copied: objects of users that a spec names.
        links: Ties to controls.
        wall: Seconds since 1970.
    """

    def __init__(self, caches: Caches, transport: Transport, links: Links, wall: Callable[[], float]) -> None:
        self._caches, self._transport, self._links, self._wall = caches, transport, links, wall

    async def gather(self, raw: Manifest, memory: Memory) -> Seen:
        """Everything about one cluster.

        Args:
            raw: The MantaCluster as it was read.
            memory: What is remembered of it; the refusal of what is there by now is forgotten.

        Raises:
            KubeError: An object of the user's could not be read.
        """
        key, uid = key_of(raw), raw["metadata"]["uid"]
        cluster = _parsed(raw)
        pods, secrets = self._children(PODS, key, uid), self._children(SECRETS, key, uid)
        services, claims = self._children(SERVICES, key, uid), self._children(CLAIMS, key, uid)
        policies, accounts = self._children(NETWORK_POLICIES, key, uid), self._children(SERVICE_ACCOUNTS, key, uid)
        memory.seen(
            (resource.plural, one["metadata"]["name"])
            for resource, objects in ((PODS, pods), (SECRETS, secrets), (CLAIMS, claims), (SERVICE_ACCOUNTS, accounts))
            for one in objects
        )
        if isinstance(cluster, MantaCluster):
            spec = cluster.spec
            secrets += await self._named(SECRETS, key, (spec.auth.existing_secret, spec.tls.existing_secret), secrets)
            claims += await self._named(CLAIMS, key, (spec.head.storage.existing_claim,), claims)
        return Seen(
            raw=raw,
            cluster=cluster,
            pods=pods,
            secrets=secrets,
            services=services,
            claims=claims,
            policies=policies,
            accounts=accounts,
            nodes=self._nodes(pods),
            warnings=self._warnings((*pods, *claims)),
            control=await self._with_idle(key, cluster, pods, self._control(key, cluster, pods, secrets, memory)),
            refusals=tuple(memory.refusals.values()),
            checked=dict(memory.checked),
        )

    def _children(self, resource: Resource, key: Key, uid: str) -> tuple[Manifest, ...]:
        """By owner or by label; a name is taken whoever has it."""
        store = self._caches[resource]
        found = {one["metadata"]["name"]: one for one in store.by(BY_CLUSTER, str(key))}
        found |= {one["metadata"]["name"]: one for one in store.by(BY_OWNER, uid)}
        return tuple(found[name] for name in sorted(found))

    async def _named(
        self, resource: Resource, key: Key, names: Iterable[str | None], known: tuple[Manifest, ...]
    ) -> tuple[Manifest, ...]:
        """Objects of the user's. They are not copied: nobody may list what is not the operator's."""
        found: list[Manifest] = []
        for name in dict.fromkeys(names):
            if name is None or named(known, name) is not None:
                continue
            try:
                path = resource.path_of(Key(key.namespace, name))
                found.append(await self._transport.call("GET", path, timeout_s=READ_S))
            except ApiError as error:
                if not error.not_found:
                    raise
        return tuple(found)

    def _nodes(self, pods: Iterable[Manifest]) -> dict[str, Manifest] | None:
        if not self._caches.listed(NODES):
            return None
        store = self._caches[NODES]
        names = {name for pod in pods if (name := pod["spec"].get("nodeName"))}
        return {name: node for name in sorted(names) if (node := store.get(Key("", name))) is not None}

    def _warnings(self, objects: Iterable[Manifest]) -> tuple[Manifest, ...]:
        """What others say of these."""
        store = self._caches[EVENTS]
        if not len(store):
            return ()
        return tuple(event for one in objects for event in store.by(BY_ABOUT, one["metadata"].get("uid", "")))

    def _control(
        self,
        key: Key,
        cluster: MantaCluster | InvalidObjectError,
        pods: Iterable[Manifest],
        secrets: Iterable[Manifest],
        memory: Memory,
    ) -> Control:
        link, why = self._links.get(key), "the cluster's spec cannot be read"
        if isinstance(cluster, MantaCluster):
            link, why = self._tie(key, cluster, pods, secrets)
        if link is not None and link.nodes is not None:
            memory.silent_since = None
            return Control(
                nodes=tuple(map(_control_node, link.nodes)),
                refused={node_id.hex(): words for node_id, words in link.refused.items()},
            )
        if link is not None:
            why = link.last_error or "it has not answered yet"
        if memory.silent_since is None:
            memory.silent_since = self._wall()
        return Control(silent=why, silent_since=memory.silent_since)

    async def _with_idle(
        self, key: Key, cluster: MantaCluster | InvalidObjectError, pods: Iterable[Manifest], control: Control
    ) -> Control:
        """The same, and who is idle where some are to go: this alone is asked when it is needed, as it always changes."""
        link = self._links.get(key)
        if link is None or not control.nodes or not isinstance(cluster, MantaCluster):
            return control
        there = Counter((pod["metadata"].get("labels") or {}).get(GROUP) for pod in pods)
        wanted = {group.name: group.replicas for group in cluster.spec.worker_groups}
        if cluster.spec.suspend or not any(0 < wanted.get(str(group), 0) < count for group, count in there.items()):
            return control
        idle = {node_id.hex(): is_idle for node_id, is_idle in (await link.idle()).items()}
        return replace(control, nodes=tuple(replace(node, idle=idle.get(node.id)) for node in control.nodes))

    def _tie(
        self, key: Key, cluster: MantaCluster, pods: Iterable[Manifest], secrets: Iterable[Manifest]
    ) -> tuple[Link | None, str]:
        head = named(pods, head_name(key.name))
        status: dict[str, Any] = {} if head is None else head.get("status") or {}
        address = str(status.get("podIP") or "") if status.get("phase") == "Running" else ""
        access = access_of(credentials(cluster, secrets), address)
        link = self._links.tie(key, access)
        return link, "" if link else "the head does not run" if not address else "there are no credentials for it"


def _parsed(raw: Manifest) -> MantaCluster | InvalidObjectError:
    try:
        return parse_cluster({"apiVersion": CLUSTERS.api_version, "kind": CLUSTERS.kind, **raw})
    except InvalidObjectError as wrong:
        return wrong


def _control_node(node: Node) -> ControlNode:
    return ControlNode(
        id=node.node_id.hex(),
        pod_uid=node.pod_uid,
        alive=node.state is not NodeState.DEAD,
        drain=_DRAINS[node.draining],
        deadline=node.deadline,
        resources=node.resources,
        oom_kills=node.oom_kills,
        oom_at=node.oom_at,
    )
