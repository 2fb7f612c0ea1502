"""What happens to actors: which incarnation of each may act, and what its creation, its reports and its end lead to.

Whatever is heard of another incarnation than the latest is ignored.
"""

from __future__ import annotations

from dataclasses import replace

from manta.control.actors import deaths
from manta.control.actors.limits import ActorLimits
from manta.control.actors.lives import Lives
from manta.control.actors.placing import Placing
from manta.control.actors.reunion import Reunion
from manta.control.actors.rows import ActorRows
from manta.control.actors.timers import Purpose, Timers
from manta.control.commands import Command, KillOnNode
from manta.control.errors import JobFinishedError
from manta.control.events import CreateActor, DependenciesReady, KillActor, Outcome, ReportActor, StartAnswered, Verdict
from manta.control.functions import FunctionTable
from manta.control.jobs import JobTable
from manta.control.model import (
    Actor,
    ActorId,
    ActorSpec,
    ActorState,
    DeathKind,
    Instant,
    JobId,
    NodeId,
    RunningActor,
    WorkerId,
)
from manta.control.nodes import NodeTable
from manta.control.stories import Stories
from manta.core.bundles import group_of
from manta.core.errors import ActorAlreadyExistsError


class ActorTable:
    """Actors by id. Places them on `nodes`, whose account it keeps."""

    def __init__(
        self,
        nodes: NodeTable,
        jobs: JobTable,
        functions: FunctionTable,
        stories: Stories,
        limits: ActorLimits,
    ) -> None:
        self.limits = limits
        self._nodes = nodes
        self._jobs = jobs
        self._functions = functions
        self._stories = stories
        self._timers = Timers()
        self._rows = rows = ActorRows(limits.dead_kept)
        self._placing = placing = Placing(rows, nodes, stories)
        self._lives = lives = Lives(rows, placing, nodes, functions, self._timers, stories, limits)
        self._reunion = Reunion(rows, placing, lives, nodes, jobs, functions, self._timers, stories, limits)
        self.rows: dict[ActorId, Actor] = rows.by_id
        # What others read, at no extra hop; promised there.
        self.get = rows.get
        self.named = rows.named
        self.names = rows.names
        self.wanted_there = rows.wanted_there
        self.outlives_job = rows.outlives_job
        self.place_waiting = placing.place_waiting

    @property
    def wanting(self) -> bool:
        """Whether any waits for room."""
        return self._placing.wanting

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
                self._reunion.announced(known, event, now, out)
            return spec.actor_id, False
        job = self._jobs.get(spec.job_id)
        if spec.name and not spec.namespace:
            spec = replace(spec, namespace=job.namespace)
        holder = self._holder(spec)
        if holder is not None:
            if event.get_if_exists:
                return holder, False
            raise ActorAlreadyExistsError(
                f"The name {spec.name!r} (namespace={spec.namespace!r}) is already taken by actor {holder.hex()}. Please use "
                f"a different name or get the existing actor using ray.get_actor({spec.name!r}, "
                f"namespace={spec.namespace!r}), or make it with get_if_exists=True."
            )
        if not self._jobs.is_running(spec.job_id) and not self.outlives_job(spec):
            raise JobFinishedError(f"job {spec.job_id.hex()} is over; it can create no actor")
        self._functions.need(spec.blobs, spec.actor_id, spec.durable, out)
        self._stories.tell(now.s, event.cause, f"actor {spec.class_name} created", spec.actor_id, spec.job_id)
        if event.known is not None and event.known.incarnation > 0:
            self._reunion.claimed(spec, event.known, now, out, event.cause)
        elif event.dependencies_unready:
            row = Actor(spec, ActorState.DEPENDENCIES_UNREADY, created_unix_ms=now.unix_ms)
            self._rows.commit(row, out, event.cause)
        else:
            row = Actor(spec, ActorState.PENDING_CREATION, created_unix_ms=now.unix_ms)
            self._placing.wait(row, now, out, event.cause)
        return spec.actor_id, True

    def _holder(self, spec: ActorSpec) -> ActorId | None:
        return self._rows.rosters.named(spec.name, spec.namespace) if spec.name else None

    def dependencies_ready(self, event: DependenciesReady, now: Instant, out: list[Command]) -> None:
        """The constructor's arguments exist.

        Raises:
            ActorNotFoundError: None such is remembered.
        """
        row = self.get(event.actor_id)
        if row.state is not ActorState.DEPENDENCIES_UNREADY:
            return
        spec = replace(row.spec, spec=event.spec) if event.spec else row.spec
        self._placing.wait(replace(row, spec=spec, state=ActorState.PENDING_CREATION), now, out, event.cause)

    # ---- what raylets say

    def start_answered(self, event: StartAnswered, now: Instant, out: list[Command]) -> None:
        """A raylet accepted a start or did not."""
        if event.available is not None:
            self._nodes.reported(event.node_id, event.available)
        if event.verdict is Verdict.ACCEPTED:
            self._lives.accepted(event.actor_id)
            return
        if self.wanted_there(event.node_id, event.actor_id, event.incarnation):
            row = self.rows[event.actor_id]
            if row.state in (ActorState.PENDING_CREATION, ActorState.RESTARTING):
                self._lives.refused(row, event, now, out)

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
                self._lives.started(row, event, now, out)
            return True
        cause = event.death or deaths.UNEXPLAINED
        if event.outcome is Outcome.CREATION_FAILED:
            if cause.kind in deaths.RESTARTABLE:
                cause = replace(cause, kind=DeathKind.CREATION_FAILED)
            self._lives.die(row, cause, now, out, event.cause)
        else:
            self._lives.ended(row, cause, now, out, event.cause)
        self.place_waiting(now, out, event.cause)
        return False

    def node_registered(
        self, node_id: NodeId, running: tuple[RunningActor, ...], now: Instant, out: list[Command], cause: str
    ) -> None:
        """Agree with a node on what lives there."""
        self._reunion.node_registered(node_id, running, now, out, cause)

    # ---- ends

    def kill(self, event: KillActor, now: Instant, out: list[Command]) -> None:
        """Somebody kills it.

        Raises:
            ActorNotFoundError: None such is remembered.
        """
        row = self.get(event.actor_id)
        if row.state is ActorState.DEAD:
            return
        self._lives.kill_there(row, deaths.KILLED.message, out, event.cause)
        if event.no_restart:
            self._lives.die(row, deaths.KILLED, now, out, event.cause)
            self.place_waiting(now, out, event.cause)

    def release(self, actor_id: ActorId, now: Instant, out: list[Command], cause: str) -> None:
        """Its last handle is gone."""
        row = self.rows.get(actor_id)
        if row is None or row.state is ActorState.DEAD or row.spec.detached or row.released:
            return
        message = deaths.OUT_OF_SCOPE.message
        if row.state is not ActorState.ALIVE:
            # No handle and no call: nobody would ever know that it started.
            self._lives.kill_there(row, message, out, cause)
            self._lives.die(row, deaths.OUT_OF_SCOPE, now, out, cause)
            self.place_waiting(now, out, cause)
            return
        self._rows.commit(replace(row, released=True), out, cause, publish=False)
        out.append(KillOnNode(row.node_id, actor_id, row.incarnation, True, message, cause))
        self._stories.tell(now.s, cause, "last handle gone", actor_id)

    def end_job(self, job_id: JobId, now: Instant, out: list[Command], cause: str) -> None:
        """A job is over: so are its actors, but those that outlive it. Their processes end with the job's on each node."""
        actors = self._rows.rosters.of_job(job_id)
        for actor_id in [each for each in actors if not self.outlives_job(self.rows[each].spec)]:
            self._lives.die(self.rows[actor_id], deaths.JOB_FINISHED, now, out, cause)

    def workers_died(self, worker_ids: tuple[WorkerId, ...], now: Instant, out: list[Command], cause: str) -> None:
        """Processes are gone: the non-detached actors that they owned end."""
        for worker_id in worker_ids:
            for actor_id in self._rows.rosters.of_owner(worker_id):
                self._lives.owner_died(self.rows[actor_id], now, out, cause)

    def node_died(self, node_id: NodeId, now: Instant, out: list[Command], cause: str) -> None:
        """A node is gone: what ran there ends, and what was owned from there."""
        for row in self._rows.on_node(node_id):
            self._lives.ended_with_node(row, now, out, cause)
        for actor_id in self._rows.rosters.owned():
            row = self.rows[actor_id]
            if row.spec.owner.node_id == node_id:
                self._lives.owner_died(row, now, out, cause)

    def node_drained(self, node_id: NodeId, now: Instant, out: list[Command], cause: str) -> None:
        """A node is taken out of service: those that may be restarted finish the calls they have and move."""
        for row in self._rows.on_node(node_id):
            left = row.spec.max_restarts < 0 or row.num_restarts < row.spec.max_restarts
            if row.state is not ActorState.ALIVE:
                # It has not begun, as far as anybody has seen: elsewhere it does.
                self._lives.kill_there(row, deaths.MOVES.message, out, cause)
                self._lives.ended(row, deaths.MOVES, now, out, cause)
            elif left and not row.released:
                out.append(KillOnNode(node_id, row.actor_id, row.incarnation, True, deaths.MOVES.message, cause))

    def end_group(self, group: bytes, now: Instant, out: list[Command], cause: str) -> None:
        """A placement group was removed: so are the actors in it."""
        for row in list(self._rows.living().values()):
            if group_of(row.spec.place) == group:
                self._lives.kill_there(row, deaths.GROUP_REMOVED.message, out, cause)
                self._lives.die(row, deaths.GROUP_REMOVED, now, out, cause)

    # ---- time

    def next_due(self) -> float | None:
        """When `due` should be called; None if nothing waits for a moment."""
        return self._timers.next_due()

    def due(self, now: Instant, out: list[Command], cause: str) -> None:
        """Do what was put off until now."""
        while (timer := self._timers.pop_due(now.s)) is not None:
            row = self.rows.get(timer.actor_id)
            if row is None or row.state is ActorState.DEAD:
                continue
            if timer.purpose is Purpose.ANNOUNCE:
                if not row.announced:
                    self._lives.owner_died(row, now, out, cause)
            elif row.incarnation == timer.incarnation and not row.node_id and row.state is not ActorState.ALIVE:
                self._placing.wait(row, now, out, cause)

    # ---- restart of control

    def restore(self, row: Actor) -> None:
        """Take a row from the store."""
        self._rows.restore(row)
        if row.state is not ActorState.DEAD:
            self._functions.restored_need(row.spec.blobs, row.actor_id)

    def restored(self, now: Instant, out: list[Command], cause: str) -> None:
        """All rows are here: those placed on nodes that cannot come back have ended, the others wait for theirs."""
        self._reunion.restored(now, out, cause)

    # ---- about itself

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        self._rows.validate()
        self._placing.validate()
        living = self._rows.living()
        queued = set(self._placing.queued())
        timed = self._timers.waiting_for(Purpose.PLACE)
        # Bundles of placement groups stand there too, under longer names.
        held = {key: amounts for key, amounts in self._nodes.held().items() if len(key[1]) <= 16}
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
        return {
            **self._rows.statistics(),
            **self._placing.statistics(),
            "actor_timers": len(self._timers),
        }
