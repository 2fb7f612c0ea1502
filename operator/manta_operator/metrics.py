"""The operator's numbers, for Prometheus. All of them are named here; labels are bounded, and a cluster's go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from manta_operator.kube.events import Event
from manta_operator.kube.requests import Request
from manta_operator.version import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Bounds of what is quick, and of what takes a person's patience; seconds.
_QUICK = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0)
_SLOW = (0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0)


class Metrics:
    """The numbers of one instance."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make: dict[str, Any] = {"registry": self.registry}
        Gauge("manta_operator_info", "Which operator this is.", ["version"], **make).labels(__version__).set(1)
        self._leader = Gauge("manta_operator_leader", "Whether this instance leads.", **make)
        self.reconciles = Counter(
            "manta_operator_reconciles", "Looks at an object, by how they ended.", ["controller", "result"], **make
        )
        self.reconcile_seconds = Histogram(
            "manta_operator_reconcile_seconds",
            "How long a look at an object took.",
            ["controller"],
            buckets=_QUICK,
            **make,
        )
        self.queue_seconds = Histogram(
            "manta_operator_queue_seconds",
            "How long an object was due until a worker took it.",
            ["controller"],
            buckets=_QUICK,
            **make,
        )
        self._queue_length = Gauge("manta_operator_queue_length", "Objects that are due.", ["controller"], **make)
        self.pod_seconds = Histogram(
            "manta_operator_pod_seconds",
            "How long a pod took from its creation until it was scheduled, from there until it ran, and until it was ready.",
            ["stage"],
            buckets=_SLOW,
            **make,
        )
        self._calls = Counter(
            "manta_operator_api_calls", "Requests to the API server.", ["verb", "resource", "code"], **make
        )
        self._call_seconds = Histogram(
            "manta_operator_api_call_seconds",
            "How long the API server took to answer; a watch, to begin.",
            ["verb"],
            buckets=_QUICK,
            **make,
        )
        self._events = Counter("manta_operator_events", "Events told about objects.", ["type", "reason"], **make)
        self.failures = Counter(
            "manta_operator_action_failures",
            "Writes that failed, by kind of object and reason.",
            ["kind", "reason"],
            **make,
        )
        self._cached = Gauge("manta_operator_cached_objects", "Objects that are kept in memory.", ["resource"], **make)
        self._reads = Gauge(
            "manta_operator_reads", "Lists, watches and failures of either, of each kind.", ["resource", "what"], **make
        )
        self._unread = Gauge(
            "manta_operator_unread_seconds",
            "For how long a kind cannot be read; what is known of it is as old as that.",
            ["resource"],
            **make,
        )
        self.links = Gauge("manta_operator_control_links", "Clusters whose control is tied to this instance.", **make)

    def show(self, clusters: Callable[[], Iterable[dict[str, Any]]], leads: Callable[[], bool]) -> None:
        """Show what clusters there are, and whether this instance leads.

        Args:
            clusters: The MantaClusters that there are, as the API server has them.
            leads: Whether this instance leads.
        """
        self._leader.set_function(lambda: float(leads()))
        self.registry.register(Clusters(clusters))

    def called(self, request: Request, code: str, seconds: float) -> None:
        """A request to the API server has ended."""
        self._calls.labels(request.verb, request.resource, code).inc()
        self._call_seconds.labels(request.verb).observe(seconds)

    def told(self, told: Event) -> None:
        """An event about an object was sent."""
        self._events.labels(told.type, told.reason).inc()

    def queue(self, controller: str, length: Callable[[], int]) -> None:
        """Show how long a controller's queue is."""
        self._queue_length.labels(controller).set_function(length)

    def cached(self, resource: str, length: Callable[[], int]) -> None:
        """Show how many objects of a kind are kept."""
        self._cached.labels(resource).set_function(length)

    def reads(self, resource: str, counts: Callable[[], Mapping[str, int]]) -> None:
        """Show how often a kind was listed, was watched, and could not be.

        Args:
            resource: Its plural.
            counts: By those words.
        """
        for what in counts():
            self._reads.labels(resource, what).set_function(partial(_of, counts, what))

    def unread(self, resource: str, seconds: Callable[[], float]) -> None:
        """Show for how long a kind cannot be read: 0 while it can."""
        self._unread.labels(resource).set_function(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


def _of(counts: Callable[[], Mapping[str, int]], what: str) -> float:
    return float(counts()[what])


class Clusters(Collector):
    """What the clusters' status says. Made anew from the clusters there are, so that nothing is left of those that are gone."""

    def __init__(self, clusters: Callable[[], Iterable[dict[str, Any]]]) -> None:
        self._clusters = clusters

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        count = 0
        conditions = GaugeMetricFamily(
            "manta_operator_cluster_condition",
            "Whether a condition of a cluster is true.",
            labels=["namespace", "cluster", "condition"],
        )
        workers = GaugeMetricFamily(
            "manta_operator_cluster_workers",
            "Workers of a cluster's groups: desired, ready, updated, pending, terminating.",
            labels=["namespace", "cluster", "group", "state"],
        )
        restarts = GaugeMetricFamily(
            "manta_operator_cluster_head_restarts",
            "Restarts of the containers of a cluster's head.",
            labels=["namespace", "cluster"],
        )
        for cluster in self._clusters():
            count += 1
            where = [cluster["metadata"].get("namespace", ""), cluster["metadata"]["name"]]
            status = cluster.get("status") or {}
            for one in status.get("conditions") or []:
                conditions.add_metric([*where, one["type"]], float(one["status"] == "True"))
            for group in status.get("groups") or []:
                for state in ("desired", "ready", "updated", "pending", "terminating"):
                    workers.add_metric([*where, group["name"], state], float(group.get(state) or 0))
            restarts.add_metric(where, float((status.get("head") or {}).get("restarts") or 0))
        yield GaugeMetricFamily("manta_operator_clusters", "Clusters that are looked after.", value=count)
        yield conditions
        yield workers
        yield restarts
