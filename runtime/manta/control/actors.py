"""The table of actors: which incarnation of each may act, where, and what happens when it ends.

An actor that waits for a place is in exactly one queue, by shape (what it needs), first come first served; shapes don't block
each other. Every start has its own incarnation, and whatever is heard of another one is ignored.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TypeAlias

from manta.aio.backoff import Backoff
from manta.control.commands import Command, KillOnNode, Publish, StartOnNode, Table, Write
from manta.control.errors import ActorNotFoundError, JobFinishedError
from manta.control.events import (
    CreateActor,
    DependenciesReady,
    KillActor,
    KnownActor,
    Outcome,
    ReportActor,
    StartAnswered,
    Verdict,
)
from manta.control.functions import FunctionTable
from manta.control.jobs import JobTable
from manta.control.model import (
    NO_NODE,
    Actor,
    ActorId,
    ActorSpec,
    ActorState,
    DeathCause,
    DeathKind,
    Instant,
    JobId,
    NodeId,
    NodeState,
    RunningActor,
    WorkerId,
)
from manta.control.nodes import NodeTable
from manta.control.placement import choose
from manta.control.rosters import Rosters
from manta.control.stories import Stories
from manta.core.errors import ActorAlreadyExistsError

#: Ends after which `max_restarts` applies. KILLED is among them because a kill for good never gets as far as a report.
RESTARTABLE = frozenset(
    {DeathKind.NODE_DIED, DeathKind.SYSTEM_ERROR, DeathKind.USER_ERROR, DeathKind.OUT_OF_MEMORY, DeathKind.KILLED}
)

KILLED = DeathCause(DeathKind.KILLED, "The actor is dead because it was killed by `ray.kill`.")
OUT_OF_SCOPE = DeathCause(DeathKind.OUT_OF_SCOPE, "The actor is dead because all references to the actor were removed.")
JOB_FINISHED = DeathCause(DeathKind.JOB_FINISHED, "The actor is dead because its job has finished.")

Shape: TypeAlias = tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...], bytes, bool]


@dataclass(frozen=True, slots=True)
class ActorLimits:
    """Times and bounds of the actor table.

    Attributes:
        dead_kept: Dead actors remembered; a late caller still learns why.
        announce_s: After a restart, owners have so long to announce the actors that raylets found running.
        restart: Delays between restarts; the first follows at once.
        settled_s: An incarnation that lived so long starts the delays anew.
        refused: Delays after a raylet refused a start.
    """

    dead_kept: int = 10_000
    announce_s: float = 30.0
    restart: Backoff = field(default_factory=lambda: Backoff(0.1, 2.0, 10.0, 0.0))
    settled_s: float = 60.0
    refused: Backoff = field(default_factory=lambda: Backoff(0.1, 2.0, 5.0, 0.0))


class _Timer(IntEnum):
    PLACE = 1
    ANNOUNCE = 2


class ActorTable:
    """Actors by id. Places them on `nodes`, whose account it keeps."""

    def __init__(
        self,
        nodes: NodeTable,
        jobs: JobTable,
        functions: FunctionTable,
        stories: Stories,
        limits: ActorLimits = ActorLimits(),
    ) -> None:
        self.limits = limits
        self._nodes = nodes
        self._jobs = jobs
        self._functions = functions
        self._stories = stories
        self.rows: dict[ActorId, Actor] = {}
        self._rosters = Rosters()
        #: Dead ones, the longest dead first.
        # An OrderedDict where the oldest goes first: a plain dict looks past every hole that was left before it.
        self._dead: OrderedDict[ActorId, None] = OrderedDict()
        #: Queues of those that wait for a place; why the head of one got none.
        self._waiting: dict[Shape, OrderedDict[ActorId, None]] = {}
        self._reasons: dict[Shape, str] = {}
        #: (when, tie, which, actor, incarnation); entries whose moment has passed otherwise are skipped.
        self._timers: list[tuple[float, int, _Timer, ActorId, int]] = []
        self._tie = 0
        #: Refusals in a row, and since when the incarnation runs, of those for whom it matters.
        self._refusals: dict[ActorId, int] = {}
        self._alive_since: dict[ActorId, float] = {}
        self._quick_deaths: dict[ActorId, int] = {}

    # ---- reading

    def get(self, actor_id: ActorId) -> Actor:
        """The actor.

        Raises:
            ActorNotFoundError: None such is remembered.
        """
        row = self.rows.get(actor_id)
        if row is None:
            raise ActorNotFoundError(f"actor {actor_id.hex()} is not known")
        return row

    def named(self, name: str, namespace: str) -> Actor:
        """The living actor of a name.

        Raises:
            ActorNotFoundError: There is none.
        """
        actor_id = self._rosters.named(name, namespace)
        if actor_id is None:
            raise ActorNotFoundError(f"no living actor is named {name!r} in namespace {namespace!r}")
        return self.rows[actor_id]

    def names(self, namespace: str | None) -> list[Actor]:
        """Living named actors of a namespace, or of all (None), by name."""
        return [self.rows[actor_id] for actor_id in self._rosters.names(namespace)]

    @property
    def wanting(self) -> bool:
        """Whether any waits for room."""
        return bool(self._waiting)

    def wanted_there(self, node_id: NodeId, actor_id: ActorId, incarnation: int) -> bool:
        """Whether this very incarnation should be on that node."""
        row = self.rows.get(actor_id)
        return (
            row is not None
            and row.state is not ActorState.DEAD
            and row.incarnation == incarnation
            and row.node_id == node_id
        )

    def outlives_job(self, spec: ActorSpec) -> bool:
        """Whether it is detached or owned, directly or not, by a living actor that is."""
        seen: set[ActorId] = set()
        while not spec.detached:
            owner = self._rosters.in_worker(spec.owner.worker_id)
            if owner is None or owner in seen:
                return False
            seen.add(owner)
            spec = self.rows[owner].spec
        return True

    # ---- creation

    def create(self, event: CreateActor, now: Instant, out: list[Command]) -> tuple[ActorId, bool]:
        """Take an actor in, or find the one that is meant.

        Returns:
            Its id, and whether it is new.

        Raises:
            ActorAlreadyExistsError: The name has another living actor and `get_if_exists` was not said.
            JobNotFoundError: Its job is not known.
            JobFinishedError: Its job is over.
            FunctionNotFoundError: Its code was not put.
        """
        spec = event.spec
        known = self.rows.get(spec.actor_id)
        if known is not None:
            if not known.announced:
                self._announced(known, event, now, out)
            return spec.actor_id, False
        job = self._jobs.get(spec.job_id)
        if spec.name and not spec.namespace:
            spec = replace(spec, namespace=job.namespace)
        if spec.name:
            holder = self._rosters.named(spec.name, spec.namespace)
            if holder is not None:
                if event.get_if_exists:
                    return holder, False
                raise ActorAlreadyExistsError(
                    f"the name {spec.name!r} is taken in namespace {spec.namespace!r} by actor {holder.hex()};"
                    " choose another, or get_if_exists=True to get that one"
                )
        if not self._jobs.is_running(spec.job_id) and not self.outlives_job(spec):
            raise JobFinishedError(f"job {spec.job_id.hex()} is over; it can create no actor")
        if spec.function_hash:
            self._functions.need(spec.function_hash, spec.actor_id, spec.durable, out)
        self._stories.tell(now.s, event.cause, f"actor {spec.class_name} created", spec.actor_id, spec.job_id)
        if event.known is not None and event.known.incarnation > 0:
            self._claimed(spec, event.known, now, out, event.cause)
            return spec.actor_id, True
        unready = event.dependencies_unready
        row = Actor(
            spec,
            ActorState.DEPENDENCIES_UNREADY if unready else ActorState.PENDING_CREATION,
            created_unix_ms=now.unix_ms,
        )
        if unready:
            self._commit(row, out, event.cause)
        else:
            self._wait(row, now, out, event.cause)
        return spec.actor_id, True

    def _claimed(self, spec: ActorSpec, known: KnownActor, now: Instant, out: list[Command], cause: str) -> None:
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
            self._wait(row, now, out, cause)
            return
        row = replace(row, state=ActorState.ALIVE, address=known.address, node_id=known.address.node_id)
        self._commit(row, out, cause)
        node = self._nodes.rows.get(row.node_id)
        if node is None or node.state is NodeState.DEAD:
            self._ended(row, self._node_died(row.node_id), now, out, cause)
        elif node.state is NodeState.ALIVE:
            self._ended(row, _VANISHED, now, out, cause)

    def _announced(self, row: Actor, event: CreateActor, now: Instant, out: list[Command]) -> None:
        """The owner of an actor that a raylet had told of says the rest."""
        spec = event.spec
        if spec.function_hash:
            self._functions.need(spec.function_hash, spec.actor_id, spec.durable, out)
        restarts = event.known.num_restarts if event.known else 0
        row = replace(row, spec=spec, announced=True, num_restarts=max(row.num_restarts, restarts))
        if row.state is ActorState.DEAD and row.death is not None and row.death.kind in RESTARTABLE:
            # It ended before its owner could say whether it may be restarted: decide that now.
            del self._dead[row.actor_id]
            self._commit(replace(row, state=ActorState.ALIVE, node_id=NO_NODE), out, event.cause, publish=False)
            self._ended(self.rows[row.actor_id], row.death, now, out, event.cause)
        else:
            self._commit(row, out, event.cause)

    def dependencies_ready(self, event: DependenciesReady, now: Instant, out: list[Command]) -> None:
        """The constructor's arguments exist.

        Raises:
            ActorNotFoundError: None such is remembered.
        """
        row = self.get(event.actor_id)
        if row.state is not ActorState.DEPENDENCIES_UNREADY:
            return
        spec = replace(row.spec, spec=event.spec) if event.spec else row.spec
        self._wait(replace(row, spec=spec, state=ActorState.PENDING_CREATION), now, out, event.cause)

    # ---- placing

    def _wait(self, row: Actor, now: Instant, out: list[Command], cause: str) -> None:
        """Queue for a place, and try at once."""
        shape = _shape(row.spec)
        queue = self._waiting.setdefault(shape, OrderedDict())
        row = replace(row, waiting_reason=self._reasons.get(shape, ""), node_id=NO_NODE, address=None, pid=0)
        self._commit(row, out, cause)
        queue[row.actor_id] = None
        if len(queue) == 1:
            self._place_shape(shape, now, out, cause)

    def place_waiting(self, now: Instant, out: list[Command], cause: str) -> None:
        """Room may have appeared: try the head of every queue, and on while it works."""
        for shape in list(self._waiting):
            self._place_shape(shape, now, out, cause)

    def _place_shape(self, shape: Shape, now: Instant, out: list[Command], cause: str) -> None:
        if self._nodes.recovering:
            return
        queue = self._waiting[shape]
        while queue:
            actor_id = next(iter(queue))
            row = self.rows[actor_id]
            spec = row.spec
            choice = choose(
                spec.place,
                spec.hold,
                self._nodes.views(),
                prefer=spec.owner.node_id,
                affinity=spec.affinity,
                affinity_soft=spec.affinity_soft,
            )
            if not choice.node_id:
                if self._reasons.get(shape) != choice.reason:
                    self._reasons[shape] = choice.reason
                    for each in queue:
                        self._commit(replace(self.rows[each], waiting_reason=choice.reason), out, cause)
                return
            del queue[actor_id]
            # Only who asks for the state sees the place; watchers hear when it runs.
            told = bool(row.waiting_reason)
            row = replace(row, incarnation=row.incarnation + 1, node_id=choice.node_id, waiting_reason="")
            self._commit(row, out, cause, publish=told)
            self._nodes.placed(choice.node_id, actor_id, spec.place, spec.hold)
            out.append(StartOnNode(choice.node_id, row, self.outlives_job(spec), cause))
            self._stories.tell(
                now.s, cause, f"start {row.incarnation} placed on {choice.node_id.hex()[:8]}", actor_id, choice.node_id
            )
        del self._waiting[shape]
        self._reasons.pop(shape, None)

    def _unqueue(self, row: Actor) -> None:
        shape = _shape(row.spec)
        queue = self._waiting.get(shape)
        if queue is not None:
            queue.pop(row.actor_id, None)
            if not queue:
                del self._waiting[shape]
                self._reasons.pop(shape, None)

    def start_answered(self, event: StartAnswered, now: Instant, out: list[Command]) -> None:
        """A raylet accepted a start or did not."""
        if event.available is not None:
            self._nodes.reported(event.node_id, event.available)
        row = self.rows.get(event.actor_id)
        if event.verdict is Verdict.ACCEPTED:
            self._refusals.pop(event.actor_id, None)
            return
        if (
            row is None
            or row.state not in (ActorState.PENDING_CREATION, ActorState.RESTARTING)
            or (row.incarnation, row.node_id) != (event.incarnation, event.node_id)
        ):
            return
        self._nodes.left(row.node_id, row.actor_id)
        attempt = self._refusals.get(row.actor_id, 0)
        self._refusals[row.actor_id] = attempt + 1
        reason = f"node {row.node_id.hex()[:8]} refused it: {event.reason}"
        self._stories.tell(now.s, event.cause, f"start {row.incarnation} refused: {event.reason}", row.actor_id)
        row = replace(row, node_id=NO_NODE, waiting_reason=reason)
        self._commit(row, out, event.cause)
        self._at(now.s + self.limits.refused.delay_s(attempt, 0.0), _Timer.PLACE, row)

    # ---- what raylets say

    def report(self, event: ReportActor, now: Instant, out: list[Command]) -> bool:
        """What became of an incarnation.

        Returns:
            Whether it is the one that should act. False for a running one: kill it.
        """
        if event.available is not None:
            self._nodes.reported(event.node_id, event.available)
        if not self.wanted_there(event.node_id, event.actor_id, event.incarnation):
            return False
        row = self.rows[event.actor_id]
        if event.outcome is Outcome.STARTED:
            if row.state is not ActorState.ALIVE:
                self._alive_since[row.actor_id] = now.s
                self._refusals.pop(row.actor_id, None)
                self._nodes.started(row.node_id, row.actor_id, row.spec.hold)
                row = replace(
                    row, state=ActorState.ALIVE, address=event.address, pid=event.pid, death=None, waiting_reason=""
                )
                self._commit(row, out, event.cause)
                self._stories.tell(now.s, event.cause, f"start {row.incarnation} is alive", row.actor_id)
            return True
        cause = event.death or DeathCause(
            DeathKind.SYSTEM_ERROR, "The actor's process ended; its node did not say why."
        )
        if event.outcome is Outcome.CREATION_FAILED:
            if cause.kind in RESTARTABLE:
                cause = replace(cause, kind=DeathKind.CREATION_FAILED)
            self._die(row, cause, now, out, event.cause)
        else:
            self._ended(row, cause, now, out, event.cause)
        self.place_waiting(now, out, event.cause)
        return False

    def node_registered(
        self, node_id: NodeId, running: tuple[RunningActor, ...], now: Instant, out: list[Command], cause: str
    ) -> None:
        """Agree with a node on what lives there."""
        there: set[ActorId] = set()
        for found in running:
            row = self.rows.get(found.actor_id)
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
            self._unqueue(row)
            if row.node_id not in (NO_NODE, node_id):
                self._nodes.left(row.node_id, row.actor_id)
            self._adopt(row, node_id, found, now, out, cause)
            there.add(found.actor_id)
            if row.released:
                out.append(KillOnNode(node_id, row.actor_id, found.incarnation, True, OUT_OF_SCOPE.message, cause))
        for actor_id in self._rosters.on_node(node_id):
            if actor_id in there:
                continue
            row = self.rows[actor_id]
            if row.state is ActorState.ALIVE:
                self._ended(row, _VANISHED, now, out, cause)
            else:
                # The start may not have reached it; repeating is safe.
                self._nodes.placed(node_id, actor_id, row.spec.place, row.spec.hold)
                out.append(StartOnNode(node_id, row, self.outlives_job(row.spec), cause))

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
        self._at(now.s + self.limits.announce_s, _Timer.ANNOUNCE, row)
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
            self._alive_since.setdefault(row.actor_id, now.s)
        if after != row or row.actor_id not in self.rows:
            self._commit(after, out, cause)
        self._nodes.adopted(node_id, row.actor_id, row.spec.hold)
        self._stories.tell(now.s, cause, f"start {found.incarnation} found on {node_id.hex()[:8]}", row.actor_id)

    # ---- ends

    def kill(self, event: KillActor, now: Instant, out: list[Command]) -> None:
        """Somebody kills it.

        Raises:
            ActorNotFoundError: None such is remembered.
        """
        row = self.get(event.actor_id)
        if row.state is ActorState.DEAD:
            return
        self._kill_there(row, KILLED.message, out, event.cause)
        if event.no_restart:
            self._die(row, KILLED, now, out, event.cause)
            self.place_waiting(now, out, event.cause)

    def release(self, actor_id: ActorId, now: Instant, out: list[Command], cause: str) -> None:
        """Its last handle is gone."""
        row = self.rows.get(actor_id)
        if row is None or row.state is ActorState.DEAD or row.spec.detached or row.released:
            return
        if row.state is not ActorState.ALIVE:
            # No handle and no call: nobody would ever know that it started.
            self._kill_there(row, OUT_OF_SCOPE.message, out, cause)
            self._die(row, OUT_OF_SCOPE, now, out, cause)
            self.place_waiting(now, out, cause)
            return
        self._commit(replace(row, released=True), out, cause, publish=False)
        out.append(KillOnNode(row.node_id, actor_id, row.incarnation, True, OUT_OF_SCOPE.message, cause))
        self._stories.tell(now.s, cause, "last handle gone", actor_id)

    def end_job(self, job_id: JobId, now: Instant, out: list[Command], cause: str) -> None:
        """A job is over: so are its actors, but those that outlive it. Their processes end with the job's on each node."""
        actors = self._rosters.of_job(job_id)
        for actor_id in [each for each in actors if not self.outlives_job(self.rows[each].spec)]:
            self._die(self.rows[actor_id], JOB_FINISHED, now, out, cause)

    def workers_died(self, worker_ids: tuple[WorkerId, ...], now: Instant, out: list[Command], cause: str) -> None:
        """Processes are gone: the non-detached actors that they owned end."""
        for worker_id in worker_ids:
            for actor_id in self._rosters.of_owner(worker_id):
                self._owner_died(self.rows[actor_id], now, out, cause)

    def node_died(self, node_id: NodeId, now: Instant, out: list[Command], cause: str) -> None:
        """A node is gone: what ran there ends, and what was owned from there."""
        for actor_id in self._rosters.on_node(node_id):
            self._ended(self.rows[actor_id], self._node_died(node_id), now, out, cause)
        for actor_id in self._rosters.owned():
            if self.rows[actor_id].spec.owner.node_id == node_id:
                self._owner_died(self.rows[actor_id], now, out, cause)

    def _owner_died(self, row: Actor, now: Instant, out: list[Command], cause: str) -> None:
        if row.state is ActorState.DEAD:
            return
        owner = row.spec.owner
        death = DeathCause(
            DeathKind.OWNER_DIED,
            f"The actor is dead because its owner has died. Owner Id: {owner.worker_id.hex()}.",
        )
        self._kill_there(row, death.message, out, cause)
        self._die(row, death, now, out, cause)

    def _node_died(self, node_id: NodeId) -> DeathCause:
        row = self._nodes.rows.get(node_id)
        why = f": {row.death_reason}" if row is not None and row.death_reason else ""
        return DeathCause(
            DeathKind.NODE_DIED, f"The actor died because its node has died. Node Id: {node_id.hex()}{why}."
        )

    def _kill_there(self, row: Actor, reason: str, out: list[Command], cause: str) -> None:
        if row.node_id and self._nodes.is_alive(row.node_id):
            out.append(KillOnNode(row.node_id, row.actor_id, row.incarnation, False, reason, cause))

    def _ended(self, row: Actor, death: DeathCause, now: Instant, out: list[Command], cause: str) -> None:
        """An incarnation is over: restart the actor or let it die."""
        spec = row.spec
        if row.released:
            self._die(row, OUT_OF_SCOPE, now, out, cause)
            return
        ran = row.state is ActorState.ALIVE
        if row.state is ActorState.PENDING_CREATION and death.kind is DeathKind.NODE_DIED and row.announced:
            # Its node went before it ran: nobody has seen it, so it is simply placed again.
            self._leave(row)
            self._wait(replace(row, node_id=NO_NODE), now, out, cause)
            return
        left = spec.max_restarts < 0 or row.num_restarts < spec.max_restarts
        if death.kind not in RESTARTABLE or not left or not row.announced:
            self._die(row, death, now, out, cause)
            return
        lived = now.s - self._alive_since.get(row.actor_id, now.s) if ran else 0.0
        quick = 0 if lived >= self.limits.settled_s else self._quick_deaths.get(row.actor_id, 0)
        self._quick_deaths[row.actor_id] = quick + 1
        self._leave(row)
        row = replace(
            row,
            state=ActorState.RESTARTING,
            num_restarts=row.num_restarts + 1,
            node_id=NO_NODE,
            address=None,
            pid=0,
            death=death,
        )
        self._stories.tell(now.s, cause, f"restarting ({row.num_restarts}): {death.message}", row.actor_id)
        if quick == 0:
            self._wait(row, now, out, cause)
        else:
            self._commit(row, out, cause)
            self._at(now.s + self.limits.restart.delay_s(quick - 1, 0.0), _Timer.PLACE, row)

    def _leave(self, row: Actor) -> None:
        """Close the accounts of its latest start."""
        self._nodes.left(row.node_id, row.actor_id)
        self._alive_since.pop(row.actor_id, None)

    def _die(self, row: Actor, death: DeathCause, now: Instant, out: list[Command], cause: str) -> None:
        spec = row.spec
        self._unqueue(row)
        self._leave(row)
        self._refusals.pop(row.actor_id, None)
        self._quick_deaths.pop(row.actor_id, None)
        if spec.function_hash:
            self._functions.unneeded(spec.function_hash, row.actor_id, out)
        # The creation spec is of no use any more, and may be large.
        row = replace(
            row,
            spec=replace(spec, spec=b""),
            state=ActorState.DEAD,
            address=None,
            death=death,
            waiting_reason="",
            ended_unix_ms=now.unix_ms,
        )
        self._commit(row, out, cause)
        self._dead[row.actor_id] = None
        self._stories.tell(now.s, cause, f"dead: {death.message}", row.actor_id, spec.job_id)
        while len(self._dead) > self.limits.dead_kept:
            oldest = next(iter(self._dead))
            del self._dead[oldest]
            if self.rows.pop(oldest).spec.durable:
                out.append(Write(Table.ACTORS, oldest, None))

    # ---- time

    def _at(self, when: float, which: _Timer, row: Actor) -> None:
        self._tie += 1
        heapq.heappush(self._timers, (when, self._tie, which, row.actor_id, row.incarnation))

    def next_due(self) -> float | None:
        """When `due` should be called; None if nothing waits for a moment."""
        return self._timers[0][0] if self._timers else None

    def due(self, now: Instant, out: list[Command], cause: str) -> None:
        """Do what was put off until now."""
        while self._timers and self._timers[0][0] <= now.s:
            _, _, which, actor_id, incarnation = heapq.heappop(self._timers)
            row = self.rows.get(actor_id)
            if row is None or row.state is ActorState.DEAD:
                continue
            if which is _Timer.ANNOUNCE:
                if not row.announced:
                    self._owner_died(row, now, out, cause)
            elif row.incarnation == incarnation and not row.node_id and row.state is not ActorState.ALIVE:
                self._wait(row, now, out, cause)

    # ---- restart of control

    def restore(self, row: Actor) -> None:
        """Take a row from the store."""
        self.rows[row.actor_id] = row
        self._rosters.follow(None, row)
        if row.state is ActorState.DEAD:
            self._dead[row.actor_id] = None
            return
        if row.spec.function_hash:
            self._functions.restored_need(row.spec.function_hash, row.actor_id)

    def restored(self, now: Instant, out: list[Command], cause: str) -> None:
        """All rows are here: those placed on nodes that cannot come back have ended, the others wait for theirs."""
        for row in list(self.rows.values()):
            if row.state in (ActorState.DEAD, ActorState.DEPENDENCIES_UNREADY):
                continue
            if not row.node_id:
                self._wait(row, now, out, cause)
                continue
            node = self._nodes.rows.get(row.node_id)
            if node is None or node.state is NodeState.DEAD:
                self._ended(row, self._node_died(row.node_id), now, out, cause)

    # ---- one place where rows change

    def _commit(self, row: Actor, out: list[Command], cause: str, *, publish: bool = True) -> None:
        old = self.rows.get(row.actor_id)
        self.rows[row.actor_id] = row
        self._rosters.follow(old, row)
        if row.spec.durable:
            out.append(Write(Table.ACTORS, row.actor_id, row))
        if publish:
            out.append(Publish(row, cause))

    # ---- about itself

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        living = {actor_id: row for actor_id, row in self.rows.items() if row.state is not ActorState.DEAD}
        assert set(self._dead) == set(self.rows) - set(living)
        assert len(self._dead) <= self.limits.dead_kept
        self._rosters.validate(living.values())
        queued = [actor_id for queue in self._waiting.values() for actor_id in queue]
        timed = {(timer[3], timer[4]) for timer in self._timers if timer[2] is _Timer.PLACE}
        assert len(queued) == len(set(queued))
        assert set(self._reasons) <= set(self._waiting)
        held = self._nodes.held()
        for actor_id, row in living.items():
            assert (row.state is ActorState.ALIVE) == (row.address is not None), row
            unplaced = not row.node_id
            if row.state is ActorState.DEPENDENCIES_UNREADY:
                assert unplaced
                assert actor_id not in queued
            elif unplaced:
                # Nothing is forgotten: who has no place is queued or will be at a known moment.
                assert (actor_id in queued) != ((actor_id, row.incarnation) in timed and actor_id not in queued), row
            else:
                assert actor_id not in queued
                assert ((row.node_id, actor_id) in held) == self._nodes.is_alive(row.node_id), row
        assert all(actor_id in living and living[actor_id].node_id == node_id for node_id, actor_id in held)

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        counts = {f"actors_{state.name.lower()}": 0 for state in ActorState}
        for row in self.rows.values():
            counts[f"actors_{row.state.name.lower()}"] += 1
        counts["actors_waiting"] = sum(map(len, self._waiting.values()))
        counts["actors_shapes_waiting"] = len(self._waiting)
        counts["actor_timers"] = len(self._timers)
        return counts


_VANISHED = DeathCause(
    DeathKind.SYSTEM_ERROR, "The actor's process was gone when its node registered with control again."
)


def _shape(spec: ActorSpec) -> Shape:
    return tuple(sorted(spec.place.items())), tuple(sorted(spec.hold.items())), spec.affinity, spec.affinity_soft
