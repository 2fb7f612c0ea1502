"""Control's decisions: events in, commands out. No I/O, no clock, no randomness; `now` is passed in.

Composed of one table per file. What one table's change means for another is written here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from manta.control import events
from manta.control.actors.limits import ActorLimits
from manta.control.actors.table import ActorTable
from manta.control.commands import Command, Decision, FinishJobOnNode, Publish, Table, Write
from manta.control.errors import JobFinishedError
from manta.control.events import Event, Request
from manta.control.functions import FunctionTable
from manta.control.groups.model import Group, GroupId
from manta.control.groups.table import GroupTable
from manta.control.jobs import NEXT_JOB, JobTable
from manta.control.kv import KvTable, split_key
from manta.control.model import Actor, ActorId, Instant, Job, JobId, JobState, Node, NodeId, RunningActor
from manta.control.nodes import NodeLimits, NodeTable
from manta.control.placement import subtract
from manta.control.requests import RequestTable
from manta.control.stories import Stories

#: Keys of the store's META table.
EPOCH = b"epoch"
CLUSTER_ID = b"cluster_id"


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the state, by table."""

    nodes: NodeLimits = field(default_factory=NodeLimits)
    actors: ActorLimits = field(default_factory=ActorLimits)
    jobs_kept: int = 1000
    kv_bytes: int = 1 << 30
    function_bytes: int = 1 << 30
    requests_kept: int = 50_000
    story_lines: int = 20_000


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store held when it was opened, decoded."""

    meta: dict[bytes, Any] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    kv: list[tuple[bytes, bytes]] = field(default_factory=list)
    functions: list[tuple[bytes, bytes]] = field(default_factory=list)
    requests: list[tuple[bytes, Any]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


class ControlState:
    """All of control's memory.

    Args:
        stored: What the store held; empty for a new cluster.
        now: Now.
        new_cluster_id: The shell's randomness, used if the store has no cluster id yet.
        limits: Bounds.

    Attributes:
        epoch: Number of this start on this store; see `leap`.
        cluster_id: Fixed for the life of the store.
        opening: Commands that opening led to; perform them first.
    """

    def __init__(
        self, stored: Stored, now: Instant, *, new_cluster_id: bytes = b"\0" * 16, limits: Limits | None = None
    ) -> None:
        limits = limits or Limits()
        self.stories = Stories(limits.story_lines)
        self.nodes = NodeTable(self.stories, limits.nodes)
        self.jobs = JobTable(self.stories, limits.jobs_kept)
        self.functions = FunctionTable(limits.function_bytes)
        self.actors = ActorTable(self.nodes, self.jobs, self.functions, self.stories, limits.actors)
        self.groups = GroupTable(self.nodes, self.stories)
        self.kv = KvTable(limits.kv_bytes)
        self.requests = RequestTable(limits.requests_kept)
        self._handlers: dict[type[Event], Callable[[Any, Instant, list[Command]], Any]] = {
            events.RegisterNode: self._register_node,
            events.Heartbeat: self._heartbeat,
            events.UnregisterNode: self._unregister_node,
            events.DrainNode: self._drain_node,
            events.NodeConnected: self._node_connected,
            events.NodeDisconnected: self._node_disconnected,
            events.WorkersDied: self._workers_died,
            events.RegisterJob: self._register_job,
            events.FinishJob: self._finish_job,
            events.CreateActor: self._create_actor,
            events.DependenciesReady: self._dependencies_ready,
            events.KillActor: self._kill_actor,
            events.ReleaseActor: self._release_actor,
            events.ReportActor: self._report_actor,
            events.StartAnswered: self._start_answered,
            events.KvPut: self._kv_put,
            events.KvDel: self._kv_del,
            events.PutFunction: self._put_function,
            events.CreateGroup: self._create_group,
            events.RemoveGroup: self._remove_group,
            events.BundlesAnswered: self._bundles_answered,
            events.BundlesOpened: self._bundles_opened,
            events.Tick: self._tick,
        }
        #: Whether the store knows which cluster this is: without that there is nothing to go on with.
        self.founded = CLUSTER_ID in stored.meta
        self.epoch: int = stored.meta.get(EPOCH, 0) + 1
        self.cluster_id: bytes = stored.meta.get(CLUSTER_ID, new_cluster_id)
        self.opening: list[Command] = [
            Write(Table.META, EPOCH, self.epoch),
            Write(Table.META, CLUSTER_ID, self.cluster_id),
        ]
        self._restore(stored, now)

    def _restore(self, stored: Stored, now: Instant) -> None:
        cause, out = f"start {self.epoch}", self.opening
        self.jobs.restore_next(stored.meta.get(NEXT_JOB, 1))
        for node in sorted(stored.nodes, key=lambda row: (row.ended_unix_ms, row.started_unix_ms)):
            self.nodes.restore(node, now)
        for job in sorted(stored.jobs, key=lambda row: row.ended_unix_ms):
            self.jobs.restore(job)
        for key, value in stored.kv:
            self.kv.restore(*split_key(key), value)
        for function_hash, blob in stored.functions:
            self.functions.restore(function_hash, blob)
        for actor in sorted(stored.actors, key=lambda row: row.ended_unix_ms):
            self.actors.restore(actor)
        for group in sorted(stored.groups, key=lambda row: (row.ended_unix_ms, row.created_unix_ms)):
            self.groups.restore(group, out, cause)
        self.functions.drop_unneeded(out)
        self.requests.restore(stored.requests)
        self.actors.restored(now, out, cause)

    # ---- events

    def handle(self, event: Event, now: Instant) -> Decision:
        """Decide what an event leads to.

        Returns:
            The answer for whoever asked and the commands, in the order in which to perform them. A repeated request gets
            its first answer and no command.

        Raises:
            ControlError: The request is refused; nothing has changed.
        """
        if isinstance(event, Request):
            answered = self.requests.answer(event.request_id)
            if answered is not None:
                return Decision(answered, [])
        out: list[Command] = []
        answer = self._handlers[type(event)](event, now, out)
        if isinstance(event, Request):
            durable = any(type(command) is Write for command in out)
            self.requests.remember(event.request_id, answer, durable, out)
        return Decision(answer, out)

    def leap(self, by: int) -> list[Command]:
        """Change the number of this start, of which nobody has heard, as it cannot be written: should this control end
        before it is, the next one reads the old number too, and must not count as the same start.

        Args:
            by: The shell's randomness, from 1 on.
        """
        self.epoch += by
        return [Write(Table.META, EPOCH, self.epoch)]

    def next_due(self) -> float | None:
        """Monotonic second by which a Tick must come; None if nothing waits for time."""
        dues = (self.nodes.next_due(), self.actors.next_due(), self.groups.next_due())
        times = [when for when in dues if when is not None]
        return min(times, default=None)

    def _register_node(self, event: events.RegisterNode, now: Instant, out: list[Command]) -> bytes:
        node_id = event.node.node_id
        was_expected = self.nodes.register(event.node, event.available, now, out, event.cause)
        if was_expected:
            for job in self.jobs.driven_from(node_id):
                if job.driver.worker_id not in event.driver_ids:
                    self._job_over(job.job_id, "its driver was gone when its node came back", now, out, event.cause)
        self.actors.node_registered(node_id, event.actors, now, out, event.cause)
        self.groups.node_registered(node_id)
        self._place_waiting(now, out, event.cause)
        return b""

    def _place_waiting(self, now: Instant, out: list[Command], cause: str) -> None:
        self.actors.place_waiting(now, out, cause)
        self.groups.place_waiting(now, out, cause)

    def _heartbeat(self, event: events.Heartbeat, now: Instant, out: list[Command]) -> None:
        before = self.nodes.gauges(event.node_id)
        if self.nodes.heartbeat(
            event.node_id, event.number, event.available, event.gauges, now, event.total, event.load
        ):
            self._place_waiting(now, out, event.cause)
        if before.get("oom_kills", 0) != self.nodes.gauges(event.node_id).get("oom_kills", 0):
            out.append(Publish(self.nodes.rows[event.node_id], event.cause))

    def _unregister_node(self, event: events.UnregisterNode, now: Instant, out: list[Command]) -> bytes:
        self._node_dead(event.node_id, event.reason or "it left", now, out, event.cause)
        return b""

    def _drain_node(self, event: events.DrainNode, now: Instant, out: list[Command]) -> bytes:
        if self.nodes.drain(event.node_id, event.grace_ms, event.reason, now, out, event.cause, event.leaving):
            self.groups.node_drained(event.node_id, now, out, event.cause)
            self.actors.node_drained(event.node_id, now, out, event.cause)
            self._place_waiting(now, out, event.cause)
        return b""

    def _node_connected(self, event: events.NodeConnected, now: Instant, out: list[Command]) -> None:
        self.nodes.connected(event.node_id, event.stream, now)

    def _node_disconnected(self, event: events.NodeDisconnected, now: Instant, out: list[Command]) -> None:
        self.nodes.disconnected(event.node_id, event.stream, now)

    def _node_dead(self, node_id: NodeId, reason: str, now: Instant, out: list[Command], cause: str) -> None:
        if not self.nodes.die(node_id, reason, now, out, cause):
            return
        for job in self.jobs.driven_from(node_id):
            self._job_over(job.job_id, f"the node of its driver died: {reason}", now, out, cause)
        self.actors.node_died(node_id, now, out, cause)
        self.groups.node_died(node_id, now, out, cause)
        self._place_waiting(now, out, cause)

    def _workers_died(self, event: events.WorkersDied, now: Instant, out: list[Command]) -> bytes:
        self.actors.workers_died(event.worker_ids, now, out, event.cause)
        for group_id in self.groups.of_owners(frozenset(event.worker_ids)):
            self._group_over(group_id, now, out, event.cause)
        self._place_waiting(now, out, event.cause)
        return b""

    def _register_job(self, event: events.RegisterJob, now: Instant, out: list[Command]) -> bytes:
        self.nodes.require_alive(event.driver.node_id)
        return self.jobs.register(event, now, out).job_id

    def _finish_job(self, event: events.FinishJob, now: Instant, out: list[Command]) -> bytes:
        if self.jobs.finish(event.job_id, event.state, event.message, now, out, event.cause):
            self._after_job(event.job_id, now, out, event.cause)
        return b""

    def _job_over(self, job_id: JobId, why: str, now: Instant, out: list[Command], cause: str) -> None:
        if self.jobs.finish(job_id, JobState.FAILED, why, now, out, cause):
            self._after_job(job_id, now, out, cause)

    def _after_job(self, job_id: JobId, now: Instant, out: list[Command], cause: str) -> None:
        self.actors.end_job(job_id, now, out, cause)
        for group_id in self.groups.of_job(job_id):
            self._group_over(group_id, now, out, cause)
        self.functions.job_finished(job_id)
        out += [FinishJobOnNode(node_id, job_id, cause) for node_id in self.nodes.alive()]
        self._place_waiting(now, out, cause)

    def _create_actor(self, event: events.CreateActor, now: Instant, out: list[Command]) -> bytes:
        actor_id, created = self.actors.create(event, now, out)
        return (b"\1" if created else b"\0") + actor_id

    def _dependencies_ready(self, event: events.DependenciesReady, now: Instant, out: list[Command]) -> bytes:
        self.actors.dependencies_ready(event, now, out)
        return b""

    def _kill_actor(self, event: events.KillActor, now: Instant, out: list[Command]) -> bytes:
        self.actors.kill(event, now, out)
        return b""

    def _release_actor(self, event: events.ReleaseActor, now: Instant, out: list[Command]) -> bytes:
        self.actors.release(event.actor_id, now, out, event.cause)
        return b""

    def _report_actor(self, event: events.ReportActor, now: Instant, out: list[Command]) -> bool:
        self.nodes.require_alive(event.node_id)
        return self.actors.report(event, now, out)

    def _start_answered(self, event: events.StartAnswered, now: Instant, out: list[Command]) -> None:
        self.actors.start_answered(event, now, out)

    def _create_group(self, event: events.CreateGroup, now: Instant, out: list[Command]) -> bytes:
        job = self.jobs.get(event.group.job_id)
        if job.state is not JobState.RUNNING and not event.group.detached:
            raise JobFinishedError(f"job {event.group.job_id.hex()} is over")
        return self.groups.create(event.group, now, out, event.cause)

    def _remove_group(self, event: events.RemoveGroup, now: Instant, out: list[Command]) -> bytes:
        self._group_over(event.group_id, now, out, event.cause)
        self._place_waiting(now, out, event.cause)
        return b""

    def _group_over(self, group_id: GroupId, now: Instant, out: list[Command], cause: str) -> None:
        if self.groups.remove(group_id, now, out, cause):
            self.actors.end_group(group_id, now, out, cause)

    def _bundles_answered(self, event: events.BundlesAnswered, now: Instant, out: list[Command]) -> None:
        self.groups.answered(event, now, out)

    def _bundles_opened(self, event: events.BundlesOpened, now: Instant, out: list[Command]) -> None:
        self.groups.opened(event, now, out)

    def _kv_put(self, event: events.KvPut, now: Instant, out: list[Command]) -> bytes:
        return b"\1" if self.kv.put(event.namespace, event.key, event.value, event.overwrite, out) else b"\0"

    def _kv_del(self, event: events.KvDel, now: Instant, out: list[Command]) -> bytes:
        return self.kv.delete(event.namespace, event.key, event.prefix, out).to_bytes(8, "big")

    def _put_function(self, event: events.PutFunction, now: Instant, out: list[Command]) -> bytes:
        if self.jobs.get(event.job_id).state is not JobState.RUNNING:
            # Nobody would ever say that it is not needed any more.
            raise JobFinishedError(f"job {event.job_id.hex()} is over; it can put no code")
        self.functions.put(event.job_id, event.function_hash, event.blob)
        return b""

    def _tick(self, event: events.Tick, now: Instant, out: list[Command]) -> None:
        for node_id, reason in self.nodes.due(now):
            self._node_dead(node_id, reason, now, out, event.cause)
        self.actors.due(now, out, event.cause)
        self.groups.place_waiting(now, out, event.cause)

    # ---- reading across tables

    def unwanted(self, node_id: NodeId, running: tuple[RunningActor, ...]) -> list[tuple[ActorId, int]]:
        """Those of a node's actors that should not be there."""
        return [
            (found.actor_id, found.incarnation)
            for found in running
            if not self.actors.wanted_there(node_id, found.actor_id, found.incarnation)
        ]

    def over(self, job_ids: tuple[JobId, ...]) -> list[JobId]:
        """Those of these jobs that are not running."""
        return [job_id for job_id in job_ids if not self.jobs.is_running(job_id)]

    def resources(self) -> tuple[dict[str, int], dict[str, int]]:
        """What living nodes have together, and what of it is free as last reported."""
        total: dict[str, int] = {}
        available: dict[str, int] = {}
        for node_id in self.nodes.alive():
            for name, amount in self.nodes.rows[node_id].total.items():
                total[name] = total.get(name, 0) + amount
            available = subtract(available, {n: -amount for n, amount in self.nodes.available(node_id).items()})
        return total, available

    def story(self, about: bytes, limit: int = 100) -> list[str]:
        """The last lines about an id, oldest first."""
        return self.stories.story(about, limit)

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        for table in (self.nodes, self.jobs, self.functions, self.actors, self.groups, self.kv, self.requests):
            table.validate()

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        counts = {"epoch": self.epoch, "story_lines": len(self.stories)}
        for table in (self.nodes, self.jobs, self.functions, self.actors, self.groups, self.kv, self.requests):
            counts |= table.statistics()
        return counts
