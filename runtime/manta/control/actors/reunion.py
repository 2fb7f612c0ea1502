"""What nodes and owners say again, after control was restarted or a connection was lost, and how it becomes one truth.

Whoever comes first is believed: a node that runs an actor nobody has announced (its owner has time to do so), an owner that
announces one which no node has reported.
"""

from __future__ import annotations

from dataclasses import replace

from manta.control.actors import deaths
from manta.control.actors.limits import ActorLimits
from manta.control.actors.lives import Lives
from manta.control.actors.placing import Placing
from manta.control.actors.rows import ActorRows
from manta.control.actors.timers import Purpose, Timers
from manta.control.commands import Command, KillOnNode, StartOnNode
from manta.control.events import CreateActor, KnownActor
from manta.control.functions import FunctionTable
from manta.control.jobs import JobTable
from manta.control.model import (
    NO_NODE,
    Actor,
    ActorId,
    ActorSpec,
    ActorState,
    Instant,
    NodeId,
    NodeState,
    RunningActor,
)
from manta.control.nodes import NodeTable
from manta.control.stories import Stories


class Reunion:
    """Agrees with nodes and owners on the actors in `rows`."""

    def __init__(
        self,
        rows: ActorRows,
        placing: Placing,
        lives: Lives,
        nodes: NodeTable,
        jobs: JobTable,
        functions: FunctionTable,
        timers: Timers,
        stories: Stories,
        limits: ActorLimits,
    ) -> None:
        self._rows = rows
        self._placing = placing
        self._lives = lives
        self._nodes = nodes
        self._jobs = jobs
        self._functions = functions
        self._timers = timers
        self._stories = stories
        self._limits = limits

    # ---- the store

    def restored(self, now: Instant, out: list[Command], cause: str) -> None:
        """All rows are here: those placed on nodes that cannot come back have ended, the others wait for theirs."""
        for row in list(self._rows.by_id.values()):
            if row.state in (ActorState.DEAD, ActorState.DEPENDENCIES_UNREADY):
                continue
            if not row.node_id:
                self._placing.wait(row, now, out, cause)
                continue
            node = self._nodes.rows.get(row.node_id)
            if node is None or node.state is NodeState.DEAD:
                self._lives.ended_with_node(row, now, out, cause)

    # ---- owners

    def claimed(self, spec: ActorSpec, known: KnownActor, now: Instant, out: list[Command], cause: str) -> None:
        """An owner announces again what no raylet has reported (yet)."""
        row = Actor(
            spec,
            ActorState.PENDING_CREATION,
            incarnation=known.incarnation,
            num_restarts=known.num_restarts,
            created_unix_ms=now.unix_ms,
        )
        if known.address is None:
            # Its start may have been accepted by a raylet that isn't back yet: nothing is placed before all are.
            self._placing.wait(row, now, out, cause)
            return
        row = replace(row, state=ActorState.ALIVE, address=known.address, node_id=known.address.node_id)
        self._rows.commit(row, out, cause)
        node = self._nodes.rows.get(row.node_id)
        if node is None or node.state is NodeState.DEAD:
            self._lives.ended_with_node(row, now, out, cause)
        elif node.state is NodeState.ALIVE:
            self._lives.ended(row, deaths.VANISHED, now, out, cause)

    def announced(self, row: Actor, event: CreateActor, now: Instant, out: list[Command]) -> None:
        """The owner of an actor that a raylet had told of says the rest."""
        spec = event.spec
        self._functions.need(spec.blobs, spec.actor_id, spec.durable, out)
        restarts = event.known.num_restarts if event.known else 0
        row = replace(row, spec=spec, announced=True, num_restarts=max(row.num_restarts, restarts))
        if row.state is ActorState.DEAD and row.death is not None and row.death.kind in deaths.RESTARTABLE:
            # It ended before its owner could say whether it may be restarted: decide that now.
            row = replace(row, state=ActorState.ALIVE, node_id=NO_NODE)
            self._rows.exhume(row, out, event.cause)
            assert row.death is not None
            self._lives.ended(row, row.death, now, out, event.cause)
        else:
            self._rows.commit(row, out, event.cause)

    # ---- nodes

    def node_registered(
        self, node_id: NodeId, running: tuple[RunningActor, ...], now: Instant, out: list[Command], cause: str
    ) -> None:
        """Agree with a node on what lives there."""
        there: set[ActorId] = set()
        for found in running:
            row = self._rows.by_id.get(found.actor_id)
            if row is None:
                # Detached ones are durable: one that is unknown was killed. So was one whose job is over.
                if not found.detached and self._jobs.is_running(found.job_id):
                    self._adopt(self._found(found, now), node_id, found, now, out, cause)
                    there.add(found.actor_id)
                continue
            if row.state is ActorState.DEAD or found.incarnation < row.incarnation:
                continue
            if found.incarnation == row.incarnation and row.node_id not in (NO_NODE, node_id):
                continue
            # A higher one than known was started just before a restart, and nobody has heard of it but this node.
            self._placing.drop(row)
            if row.node_id not in (NO_NODE, node_id):
                self._nodes.left(row.node_id, row.actor_id)
            self._adopt(row, node_id, found, now, out, cause)
            there.add(found.actor_id)
            if row.released:
                message = deaths.OUT_OF_SCOPE.message
                out.append(KillOnNode(node_id, row.actor_id, found.incarnation, True, message, cause))
        for row in self._rows.on_node(node_id):
            if row.actor_id in there:
                continue
            if row.state is ActorState.ALIVE:
                self._lives.ended(row, deaths.VANISHED, now, out, cause)
            else:
                # The start may not have reached it; repeating is safe.
                self._nodes.placed(node_id, row.actor_id, row.spec.place, row.spec.hold)
                out.append(StartOnNode(node_id, row, self._rows.outlives_job(row.spec), cause))

    def _found(self, found: RunningActor, now: Instant) -> Actor:
        spec = ActorSpec(
            found.actor_id, found.job_id, found.owner, hold=found.hold, place=found.hold, class_name=found.class_name
        )
        row = Actor(
            spec,
            ActorState.PENDING_CREATION,
            incarnation=found.incarnation,
            announced=False,
            created_unix_ms=now.unix_ms,
        )
        self._timers.put_off(now.s + self._limits.announce_s, Purpose.ANNOUNCE, row)
        return row

    def _adopt(
        self, row: Actor, node_id: NodeId, found: RunningActor, now: Instant, out: list[Command], cause: str
    ) -> None:
        starting = ActorState.RESTARTING if row.num_restarts else ActorState.PENDING_CREATION
        after = replace(
            row,
            state=ActorState.ALIVE if found.address else starting,
            incarnation=found.incarnation,
            node_id=node_id,
            address=found.address,
            pid=found.pid,
            waiting_reason="",
        )
        if found.address:
            self._lives.found_alive(row.actor_id, now)
        if after != row or row.actor_id not in self._rows.by_id:
            self._rows.commit(after, out, cause)
        self._nodes.adopted(node_id, row.actor_id, row.spec.hold)
        self._stories.tell(now.s, cause, f"start {found.incarnation} found on {node_id.hex()[:8]}", row.actor_id)
