"""Looks after one MantaCluster: all reads, one pure decision, all writes."""

from __future__ import annotations

import time
from collections.abc import Callable

from manta_operator.builders.labels import CLUSTER as CLUSTER_LABEL
from manta_operator.builders.labels import Manifest
from manta_operator.cluster.actions import Plan
from manta_operator.cluster.apply import Application
from manta_operator.cluster.gather import Gatherer
from manta_operator.cluster.memory import Memory
from manta_operator.cluster.seen import Seen
from manta_operator.control.links import Links
from manta_operator.controllers import Controller, Watched, owned_by
from manta_operator.kinds import BY_NODE, CHILDREN, CLUSTERS
from manta_operator.kube.caches import Caches
from manta_operator.kube.expectations import Expectations
from manta_operator.kube.recorder import Recorder
from manta_operator.kube.resources import EVENTS, NODES, PODS, Key, Resource
from manta_operator.kube.transport import Transport
from manta_operator.kube.writer import Writer
from manta_operator.metrics import Metrics
from manta_operator.warned import clusters_of


class ClusterReconciler:
    """Brings MantaClusters to their specs. Safe to ask at any time, any number of times.

    Args:
        caches: The copies.
        transport: For reads.
        writer: For writes.
        recorder: For events.
        links: Ties to controls.
        metrics: Told of failures.
        decide: The decision, `plan` with its surroundings.
        wall: Seconds since 1970.
    """

    def __init__(
        self,
        caches: Caches,
        transport: Transport,
        writer: Writer,
        recorder: Recorder,
        links: Links,
        metrics: Metrics,
        decide: Callable[[Seen, float], Plan],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._caches, self._transport, self._writer, self._recorder = caches, transport, writer, recorder
        self._links, self._metrics, self._decide, self._wall = links, metrics, decide, wall
        self._gatherer = Gatherer(caches, transport, links, wall)
        self._expectations = Expectations()
        self._memories: dict[Key, Memory] = {}

    def controller(self) -> Controller:
        """For `app`."""
        children = tuple(Watched(resource, of_child) for resource in CHILDREN)
        others = (Watched(NODES, self._on_node), Watched(EVENTS, self._on_warning))
        return Controller("cluster", CLUSTERS, (*children, *others), self.reconcile)

    async def reconcile(self, key: Key) -> float | None:
        """Bring one cluster to its spec.

        Returns:
            After how many seconds to look again even if nothing happens.

        Raises:
            NotLeaderError: Another instance does it.
            KubeError: Something may go well the next time. Everything else was done all the same.
        """
        raw = self._caches[CLUSTERS].get(key)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            # Owner references clean up after it.
            self._forget(key)
            return None
        late_s = self._expectations.behind(key, self._caches.seen, time.monotonic())
        if late_s is not None:
            # What it was told is on its way: that brings it back, or this does.
            return late_s
        memory = self._memory(key, raw)
        seen = await self._gatherer.gather(raw, memory)
        decided = self._decide(seen, self._wall())
        memory.planned(decided, self._wall())
        application = Application(
            seen,
            memory,
            writer=self._writer,
            transport=self._transport,
            recorder=self._recorder,
            link=self._links.get(key),
            wrote=lambda resource, obj: self._wrote(key, resource, obj),
            metrics=self._metrics,
            wall=self._wall,
        )
        await application.perform(decided)
        if application.temporary is not None:
            raise application.temporary
        if application.news:
            return 0.0
        return None if decided.again_at is None else max(0.0, decided.again_at - self._wall())

    def _memory(self, key: Key, raw: Manifest) -> Memory:
        uid = raw["metadata"]["uid"]
        memory = self._memories.get(key)
        if memory is None or memory.uid != uid:
            # Another one of that name: nothing of the former's is true of it.
            self._forget(key)
            memory = self._memories[key] = Memory(uid)
        return memory

    def _forget(self, key: Key) -> None:
        self._memories.pop(key, None)
        self._expectations.forget(key)
        self._links.drop(key)

    def _wrote(self, key: Key, resource: Resource, obj: Manifest) -> None:
        metadata = obj.get("metadata") or {}
        if resource in self._caches:
            namespace, version = metadata.get("namespace", ""), str(metadata.get("resourceVersion") or "")
            self._expectations.wrote(key, resource, namespace, version, time.monotonic())

    def _on_node(self, node: Manifest) -> list[Key]:
        """The clusters with pods on a node."""
        pods = self._caches[PODS].by(BY_NODE, node["metadata"]["name"])
        return list(dict.fromkeys(key for pod in pods for key in of_child(pod)))

    def _on_warning(self, event: Manifest) -> list[Key]:
        return clusters_of(self._caches[CLUSTERS], event)


_owner = owned_by(CLUSTERS.kind)


def of_child(obj: Manifest) -> list[Key]:
    """Whose an object is, and whose its labels say it is: a name that is free again is news for either."""
    metadata = obj["metadata"]
    named = (metadata.get("labels") or {}).get(CLUSTER_LABEL)
    keys = list(_owner(obj))
    return keys if named is None else list(dict.fromkeys([*keys, Key(metadata.get("namespace", ""), named)]))
