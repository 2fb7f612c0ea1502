"""The node's numbers for Prometheus, read from its books when somebody asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from manta.core.resources import to_float
from manta.metrics import text
from manta.metrics.processes import Components
from manta.raylet.clients import Clients
from manta.raylet.scheduling.records import WorkerState
from manta.raylet.tasks import TaskBook
from manta.raylet.user_metrics import UserMetricBook
from manta.raylet.workers.pool import WorkerProcesses
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import NUMBER
from manta.version import __version__

if TYPE_CHECKING:
    from prometheus_client import Metric

    from manta.metrics.histogram import Histogram
    from manta.raylet.runner import Runner

#: Bytes of the object store by state, as `statistics` names them.
_STORE_BYTES = {
    "capacity": "capacity_bytes",
    "used": "used_bytes",
    "free": "free_bytes",
    "sealed": "sealed_bytes",
    "pinned": "pinned_bytes",
    "evictable": "evictable_bytes",
    "unsealed": "unsealed_bytes",
    "lent": "lent_bytes",
}


class NodeMetrics:
    """Everything a raylet tells Prometheus.

    Args:
        node_id: This node.
        runner: Has the scheduler and its timings.
        processes: Knows the workers and their factories.
        clients: Who is connected.
        store: The object store's statistics.
        frames: How many frames of each type came.
        tasks: What processes tell of tasks.
        measured: What user code measures.
        transfers: How long objects of other nodes took to come.
        transferred: Bytes that came from other nodes and went to them, by direction.
        services: The processes beside the raylet that it keeps running.
        memory_kills: How many processes were ended because memory was full.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        runner: Runner,
        processes: WorkerProcesses,
        clients: Clients,
        store: Callable[[], Mapping[str, int]],
        frames: Mapping[int, int],
        tasks: TaskBook,
        measured: UserMetricBook,
        transfers: Histogram,
        transferred: Callable[[], Mapping[str, int]],
        services: Callable[[], Mapping[str, Mapping[str, int]]] = dict,
        memory_kills: Callable[[], int] = int,
    ) -> None:
        self._node_id = node_id
        self._runner = runner
        self._processes = processes
        self._clients = clients
        self._store = store
        self._frames = frames
        self._tasks = tasks
        self._measured = measured
        self._transfers, self._transferred = transfers, transferred
        self._services = services
        self._memory_kills = memory_kills
        self._components = Components()

    def text(self) -> bytes:
        """The text of /metrics."""
        return text.render(self.families)

    def families(self) -> Iterator[Metric]:
        """Each family once."""
        scheduling = self._runner.scheduler.statistics()
        info: dict[text.Labels, float] = {(self._node_id.hex(), __version__): 1.0}
        yield text.gauge("manta_node_info", "This node; always 1.", ("node_id", "version"), info)
        yield from self._resources(scheduling)
        yield from self._object_store()
        yield from self._process_usage()
        yield from self._scheduling(scheduling)
        yield from self._wires()
        yield from self._task_counts(scheduling)
        yield from self._kept()
        yield from self._measured.families()

    def _kept(self) -> Iterator[Metric]:
        kept = self._services()
        up: dict[text.Labels, float] = {name: float(one["pid"] > 0) for name, one in kept.items()}
        yield text.gauge(
            "manta_service_up", "Processes beside the head's raylet: 1 while one is there.", ("service",), up
        )
        again: dict[text.Labels, float] = {name: float(one["restarts"]) for name, one in kept.items()}
        yield text.counter("manta_service_restarts", "How often they were started again.", ("service",), again)

    def _resources(self, scheduling: Mapping[str, Any]) -> Iterator[Metric]:
        total, free = scheduling["total"], scheduling["available"]
        amounts: dict[text.Labels, float] = {}
        for name, most in sorted(total.items()):
            if name.startswith("node:"):
                continue  # a name for the node, nothing that is used up
            amounts[name, "total"] = to_float(most)
            amounts[name, "used"] = to_float(most - free.get(name, 0))
        yield text.gauge("manta_resources", "Logical resources of the node.", ("resource", "state"), amounts)

    def _object_store(self) -> Iterator[Metric]:
        store = self._store()
        sizes: dict[text.Labels, float] = {state: store[name] for state, name in _STORE_BYTES.items()}
        yield text.gauge("manta_object_store_bytes", "Bytes of the object store by state.", ("state",), sizes)
        yield text.gauge("manta_object_store_objects", "Sealed objects.", (), {(): store["objects"]})
        waiting: dict[text.Labels, float] = {"create": store["waiting_creates"], "get": store["waiting_gets"]}
        yield text.gauge("manta_object_store_waiting", "Who waits for room, or for objects.", ("for",), waiting)
        happened: dict[text.Labels, float] = {
            name.removesuffix("_total"): count for name, count in store.items() if name.endswith("_total")
        }
        yield text.counter("manta_object_store_events", "What happened to objects.", ("event",), happened)
        doc = "How long objects of other nodes took to come, from the asking to the last byte."
        yield text.histogram("manta_transfer_seconds", doc, (), {(): self._transfers})
        doc = "Bytes of objects that came from other nodes and went to them."
        yield text.counter("manta_transfer_bytes", doc, ("direction",), self._transferred())

    def _process_usage(self) -> Iterator[Metric]:
        # Those of other containers count in theirs.
        drivers = [client.pid_here for client in self._clients if client.role == pb.ROLE_DRIVER and client.pid_here]
        used = self._components.look(
            {
                "raylet": (os.getpid(),),
                "worker": self._processes.worker_pids(),
                "factory": self._processes.factory_pids(),
                "driver": drivers,
            }
        )
        seconds: dict[text.Labels, float] = {name: usage.cpu_s for name, (_, usage) in used.items()}
        resident: dict[text.Labels, float] = {name: usage.resident_bytes for name, (_, usage) in used.items()}
        counts: dict[text.Labels, float] = {name: count for name, (count, _) in used.items()}
        label = ("component",)
        yield text.counter("manta_process_cpu_seconds", "CPU time of our processes and the users'.", label, seconds)
        yield text.gauge("manta_process_resident_bytes", "Their memory, shared pages counted in each.", label, resident)
        yield text.gauge("manta_processes", "How many there are.", label, counts)
        doc = "Processes that the raylet or the kernel ended because memory was full."
        yield text.counter("manta_memory_kills", doc, (), {(): self._memory_kills()})

    def _scheduling(self, scheduling: Mapping[str, Any]) -> Iterator[Metric]:
        states: dict[text.Labels, float] = {state.value: 0 for state in WorkerState} | scheduling["workers"]
        yield text.gauge("manta_workers", "Worker processes by state; actors are busy.", ("state",), states)
        waiting = infeasible = 0
        for demand in scheduling["demands"]:
            missing = max(0, max(demand["backlog"], demand["wanted"]) - demand["held"])
            waiting += missing
            infeasible += 0 if demand["feasible"] else missing
        queue: dict[text.Labels, float] = {"feasible": waiting - infeasible, "infeasible": infeasible}
        doc = "Tasks and actors that wait for a worker here, as their owners last said."
        yield text.gauge("manta_scheduler_queue", doc, ("kind",), queue)
        yield text.gauge("manta_leases", "Workers that are lent out.", (), {(): scheduling["leases"]})
        happened: dict[text.Labels, float] = {
            "lease_granted": scheduling["granted"],
            "lease_returned": scheduling["returned"],
            "worker_started": scheduling["started"],
            "worker_died": scheduling["died"],
            "actor_started": scheduling["actors"],
        }
        yield text.counter("manta_scheduler_events", "What the scheduler did.", ("event",), happened)
        timings = self._runner.timings
        doc = "From an owner's wish for more workers to each it gets."
        yield text.histogram("manta_scheduling_seconds", doc, (), {(): timings.scheduling})
        yield text.histogram("manta_lease_seconds", "How long workers are lent out.", (), {(): timings.lease})
        doc = "From the decision to have a worker to its first word."
        yield text.histogram("manta_worker_start_seconds", doc, (), {(): timings.worker_start})

    def _task_counts(self, scheduling: Mapping[str, Any]) -> Iterator[Metric]:
        running = scheduling["leases"] - self._runner.scheduler.actor_leases()
        waiting = sum(max(0, max(one["backlog"], one["wanted"]) - one["held"]) for one in scheduling["demands"])
        states: dict[text.Labels, float] = {"PENDING_NODE_ASSIGNMENT": waiting, "RUNNING": running}
        doc = "Tasks that wait for a worker, and workers that run tasks; a worker may have more in its queue."
        yield text.gauge("manta_tasks", doc, ("state",), states)
        tasks = self._tasks
        ended: dict[text.Labels, float] = {"FINISHED": tasks.finished, "FAILED": tasks.failed}
        yield text.counter("manta_tasks_ended", "Tasks and actor calls that ended, by how.", ("state",), ended)
        yield text.histogram("manta_task_execution_seconds", "How long they ran.", (), {(): tasks.execution})

    def _wires(self) -> Iterator[Metric]:
        roles: dict[text.Labels, float] = {"driver": 0, "worker": 0, "leaser": 0, "tool": 0}
        unsent = 0
        for client in self._clients:
            roles[pb.Role.Name(client.role).removeprefix("ROLE_").lower()] += 1
            unsent += client.connection.unsent_bytes
        yield text.gauge("manta_channel_connections", "Processes on the channel.", ("role",), roles)
        yield text.gauge("manta_channel_unsent_bytes", "What they have not read yet.", (), {(): unsent})
        counts: dict[text.Labels, float] = {_frame_name(number): count for number, count in self._frames.items()}
        yield text.counter("manta_channel_frames", "Frames that came on the channel.", ("type",), counts)


_NAMES = {number: kind.__name__ for kind, number in NUMBER.items()}


def _frame_name(number: int) -> str:
    return _NAMES.get(number, "unknown")
