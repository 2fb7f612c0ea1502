"""Control's numbers for Prometheus, read from its tables when somebody asks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from manta.control.model import ActorState, JobState, NodeState
from manta.control.state import ControlState
from manta.metrics import text
from manta.metrics.processes import Components

if TYPE_CHECKING:
    from prometheus_client import Metric

    from manta.control.services.rpcs import Calls
    from manta.transport.accepted import Accepted

#: Statistics that only grow, by the event they count.
_COUNTED = {
    "commit": "store_commits",
    "publication": "watch_published",
    "resync": "watch_resyncs",
    "decision": "events_handled",
    "job_started": "jobs_started",
}
#: Queues, by what waits in them.
_QUEUES = {"store": "store_queued", "commit": "requests_waiting", "watchers": "watch_unread"}


class ControlMetrics:
    """Everything control tells Prometheus.

    Args:
        state: Read, never changed.
        statistics: The runner's and the store's counts.
        calls: RPCs that were answered.
        accepted: The connections on TCP.
    """

    def __init__(
        self, state: ControlState, statistics: Callable[[], Mapping[str, int]], calls: Calls, accepted: Accepted
    ) -> None:
        self._state = state
        self._statistics = statistics
        self._calls = calls
        self._accepted = accepted
        self._components = Components()

    def text(self) -> bytes:
        """The text of /metrics."""
        return text.render(self.families)

    def families(self) -> Iterator[Metric]:
        """Each family once."""
        state, counts = self._state, self._statistics()
        nodes = Counter(row.state for row in state.nodes.rows.values())
        jobs = Counter(row.state for row in state.jobs.rows.values())
        actors = Counter(row.state for row in state.actors.rows.values())
        label = ("state",)
        # A state that nobody is in is told as 0: a series that comes and goes is no good for alerts.
        by_node: dict[text.Labels, float] = {one.name: nodes[one] for one in NodeState}
        by_job: dict[text.Labels, float] = {one.name: jobs[one] for one in JobState}
        by_actor: dict[text.Labels, float] = {one.name: actors[one] for one in ActorState}
        yield text.gauge("manta_nodes", "Nodes by state; the dead as long as they are remembered.", label, by_node)
        yield text.gauge("manta_jobs", "Jobs by state; finished ones as long as they are remembered.", label, by_job)
        yield text.gauge("manta_actors", "Actors by state; the dead as long as they are remembered.", label, by_actor)
        yield text.gauge("manta_control_epoch", "Control's start number on this store.", (), {(): state.epoch})
        writable = counts.get("store_writable", 1)
        doc = "1: what is new is taken; 0: it is refused, as the disk of control's store is full or read-only."
        yield text.gauge("manta_control_storage_writable", doc, (), {(): writable})
        free = counts.get("store_free_bytes")
        if free is not None:
            yield text.gauge("manta_control_storage_free_bytes", "Free on the disk of its store.", (), {(): free})
        waiting: dict[text.Labels, float] = {name: counts.get(key, 0) for name, key in _QUEUES.items()}
        yield text.gauge("manta_control_queue", "What waits in control.", ("for",), waiting)
        happened: dict[text.Labels, float] = {name: counts.get(key, 0) for name, key in _COUNTED.items()}
        yield text.counter("manta_control_events", "What control did.", ("event",), happened)
        seconds = counts.get("store_commit_us", 0) / 1e6
        yield text.counter("manta_control_commit_seconds", "Time spent in commits.", (), {(): seconds})
        yield from self._rpcs()
        doc = "Connections without a credential that made room for others."
        dismissed: dict[text.Labels, float] = {(): self._accepted.dismissed}
        yield text.counter("manta_grpc_strangers_dismissed", doc, (), dismissed)
        _, usage = self._components.look({"control": (os.getpid(),)})["control"]
        label = ("component",)
        yield text.counter("manta_process_cpu_seconds", "CPU time of the process.", label, {"control": usage.cpu_s})
        resident: dict[text.Labels, float] = {"control": usage.resident_bytes}
        yield text.gauge("manta_process_resident_bytes", "Its memory.", label, resident)

    def _rpcs(self) -> Iterator[Metric]:
        calls = self._calls
        doc = "Calls that control took, on nodes' lines too."
        yield text.counter("manta_grpc_calls", doc, ("method",), calls.answered)
        yield text.counter("manta_grpc_refusals", "Those it refused.", ("method",), calls.refused)
        doc = "From a gRPC call to its answer, the commit included; nodes' lines aside."
        yield text.histogram("manta_grpc_seconds", doc, (), {(): calls.seconds})
