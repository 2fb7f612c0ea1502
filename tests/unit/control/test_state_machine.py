"""Random histories: every invariant after every event, and after every restart the store holds what was acknowledged."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from manta.control import events
from manta.control.commands import StartOnNode, Table
from manta.control.errors import ControlError
from manta.control.model import ActorId, ActorState, Address, DeathKind, JobId, JobState
from manta.core.errors import ActorAlreadyExistsError
from tests.unit.control.worlds import CPU, World, node_id

NAMES = ("", "", "one", "two")


class Histories(RuleBasedStateMachine):
    """A cluster of a few nodes whose raylets answer late, die and come back, under a control that is killed at times."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.nodes = 0
        self.jobs: list[tuple[JobId, Address]] = []
        self.last_request: Any = None
        #: The highest incarnation seen of each durable actor.
        self.highest: dict[ActorId, int] = {}

    @initialize()
    def first_node(self):
        self.join()

    @rule()
    @precondition(lambda self: len(self.world.running) < 3)
    def join(self):
        self.nodes += 1
        self.world.register(node_id(self.nodes), cpus=1 + self.nodes % 3)

    def pick(self, data, things):
        things = sorted(things)
        return data.draw(st.sampled_from(things)) if things else None

    @rule(data=st.data())
    def job(self, data):
        node = self.pick(data, [node for node in self.world.running if self.world.state.nodes.is_alive(node)])
        if node:
            self.jobs.append(self.world.job(node, namespace="shared"))

    @rule(
        data=st.data(),
        name=st.sampled_from(NAMES),
        detached=st.booleans(),
        restarts=st.sampled_from([0, 1, -1]),
        hold=st.sampled_from([0, CPU, 3 * CPU, 9 * CPU]),
        unready=st.booleans(),
        existing=st.booleans(),
    )
    def create(self, data, name, detached, restarts, hold, unready, existing):
        chosen = self.pick(data, self.jobs)
        if chosen is None:
            return
        job, driver = chosen
        try:
            actor = self.world.create(
                job,
                driver,
                name=name,
                detached=detached,
                max_restarts=restarts,
                hold={"CPU": hold} if hold else {},
                dependencies_unready=unready,
                get_if_exists=existing and bool(name),
            )
        except (ControlError, ActorAlreadyExistsError):
            return
        if name:
            assert self.world.state.actors.named(name, "shared").actor_id == actor

    def placed(self, *states):
        return [
            actor
            for actor, row in self.world.state.actors.rows.items()
            if row.state in states and row.node_id in self.world.running
        ]

    @rule(data=st.data())
    def ready(self, data):
        rows = self.world.state.actors.rows.items()
        actor = self.pick(data, [a for a, row in rows if row.state is ActorState.DEPENDENCIES_UNREADY])
        if actor:
            self.world.handle(events.DependenciesReady(request_id=self.world.request_id(), actor_id=actor))

    @rule(data=st.data())
    def start(self, data):
        sent = {
            command.actor.actor_id
            for command in self.world.sent
            if isinstance(command, StartOnNode)
            and self.world.state.actors.wanted_there(command.node_id, command.actor.actor_id, command.actor.incarnation)
        }
        waiting = set(self.placed(ActorState.PENDING_CREATION, ActorState.RESTARTING))
        actor = self.pick(data, waiting & sent)
        if actor and self.world.state.nodes.is_alive(self.world.actor(actor).node_id):
            self.world.start(actor)

    @rule(data=st.data(), kind=st.sampled_from([DeathKind.SYSTEM_ERROR, DeathKind.INTENDED_USER_EXIT]))
    def die(self, data, kind):
        actor = self.pick(data, self.placed(ActorState.ALIVE, ActorState.PENDING_CREATION, ActorState.RESTARTING))
        if actor and self.world.state.nodes.is_alive(self.world.actor(actor).node_id):
            self.world.die(actor, kind)

    @rule(data=st.data())
    def refuse(self, data):
        actor = self.pick(data, self.placed(ActorState.PENDING_CREATION))
        if actor:
            row = self.world.actor(actor)
            self.world.handle(
                events.StartAnswered(
                    node_id=row.node_id,
                    actor_id=actor,
                    incarnation=row.incarnation,
                    verdict=events.Verdict.REFUSED,
                )
            )

    @rule(data=st.data(), no_restart=st.booleans())
    def kill(self, data, no_restart):
        actor = self.pick(data, self.world.state.actors.rows)
        if actor:
            self.last_request = events.KillActor(
                request_id=self.world.request_id(), actor_id=actor, no_restart=no_restart
            )
            self.world.handle(self.last_request)

    @rule(data=st.data())
    def release(self, data):
        actor = self.pick(data, self.world.state.actors.rows)
        if actor:
            self.last_request = events.ReleaseActor(request_id=self.world.request_id(), actor_id=actor)
            self.world.handle(self.last_request)

    @rule()
    @precondition(lambda self: self.last_request is not None)
    def repeat(self):
        """A repetition, however late, decides nothing."""
        before = dict(self.world.state.actors.rows)
        sent = len(self.world.sent)
        if self.world.state.requests.answer(self.last_request.request_id) is not None:
            self.world.handle(self.last_request)
            assert (self.world.state.actors.rows, len(self.world.sent)) == (before, sent)

    @rule(data=st.data())
    def finish(self, data):
        chosen = self.pick(data, self.jobs)
        if chosen:
            self.world.handle(
                events.FinishJob(request_id=self.world.request_id(), job_id=chosen[0], state=JobState.SUCCEEDED)
            )

    @rule(data=st.data())
    def owner_dies(self, data):
        chosen = self.pick(data, self.jobs)
        if chosen:
            driver = chosen[1]
            self.world.handle(
                events.WorkersDied(
                    request_id=self.world.request_id(), node_id=driver.node_id, worker_ids=(driver.worker_id,)
                )
            )

    @rule(data=st.data())
    @precondition(lambda self: len(self.world.running) > 1)
    def node_dies(self, data):
        node = self.pick(data, self.world.running)
        del self.world.running[node]
        self.world.sleep(11.0)

    @rule(data=st.data())
    def register_again(self, data):
        node = self.pick(data, [n for n in self.world.running if self.world.state.nodes.is_alive(n)])
        if node:
            self.world.register(node)

    @rule()
    def time_passes(self):
        self.world.sleep(2.0)

    @rule()
    def control_is_killed_and_comes_back(self):
        durable = {actor: row for actor, row in self.world.state.actors.rows.items() if row.spec.durable}
        jobs = dict(self.world.state.jobs.rows)
        self.world.restart()
        after = self.world.state.actors.rows
        for actor, row in durable.items():
            assert after[actor].state is row.state
            assert after[actor].incarnation == row.incarnation
        assert self.world.state.jobs.rows == jobs
        for node in sorted(self.world.running):
            self.world.register(node)

    @invariant()
    def incarnations_only_grow(self):
        for actor, row in self.world.state.actors.rows.items():
            if row.spec.durable:
                assert row.incarnation >= self.highest.get(actor, 0)
                self.highest[actor] = row.incarnation

    @invariant()
    def the_store_holds_exactly_the_durable_actors_as_they_are(self):
        stored = {key: row for (table, key), row in self.world.store.items() if table is Table.ACTORS}
        rows = self.world.state.actors.rows
        assert stored == {actor: row for actor, row in rows.items() if row.spec.durable}

    @invariant()
    def nothing_that_fits_waits(self):
        """The slow twin of the queues: no actor at the head of its shape could be placed right now."""
        state = self.world.state
        if state.nodes.recovering:
            return
        before = len(self.world.sent)
        out = []
        state.actors.place_waiting(_Now(self.world.now), out, "")
        assert out == []
        assert len(self.world.sent) == before


class _Now:
    def __init__(self, s):
        self.s, self.unix_ms = s, 0


TestHistories = Histories.TestCase
TestHistories.settings = settings(settings.get_profile("standard"), max_examples=60, stateful_step_count=40)
