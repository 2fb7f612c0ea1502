import pytest

from manta.control import events
from manta.control.actors.limits import ActorLimits
from manta.control.commands import StartOnNode, Table
from manta.control.errors import ActorNotFoundError, FunctionNotFoundError, JobFinishedError
from manta.control.model import ActorState, DeathKind, JobState, WorkerId
from manta.control.state import Limits
from manta.core.errors import ActorAlreadyExistsError
from manta.core.strategy import ANYWHERE
from tests.unit.control.worlds import CPU, World, node_id

A, B = node_id(1), node_id(2)


@pytest.fixture
def world():
    world = World()
    world.register(A)
    return world


def kill(world, actor, **fields):
    world.handle(events.KillActor(request_id=world.request_id(), actor_id=actor, **fields))


def test_an_actor_waits_for_room_and_starts_when_another_ends(world):
    job, driver = world.job(A)
    first = world.create(job, driver, hold={"CPU": 2 * CPU}, place={"CPU": 2 * CPU})
    world.start(first)
    second = world.create(job, driver, hold={"CPU": CPU})
    assert world.actor(second).waiting_reason == 'waiting for {"CPU": 1} that other actors hold'
    kill(world, first)
    assert world.starts() == [(first, 1, A), (second, 1, A)]
    assert world.actor(second).waiting_reason == ""


def test_an_actor_that_fits_once_tasks_end_is_queued_on_the_node(world):
    """Tasks come and go; the raylet queues the start fairly among them."""
    job, driver = world.job(A)
    world.handle(events.Heartbeat(node_id=A, number=10**9, available={"CPU": 0}))
    actor = world.create(job, driver)
    assert world.starts() == [(actor, 1, A)]


def test_the_owners_node_is_preferred_while_it_is_less_than_half_full(world):
    world.register(B)
    job, driver = world.job(B)
    assert world.starts() == []
    actors = [world.create(job, driver, hold={"CPU": CPU}) for _ in range(3)]
    assert world.starts() == [(actors[0], 1, B), (actors[1], 1, A), (actors[2], 1, B)]


def test_restarts_are_counted_and_the_last_death_is_final(world):
    job, driver = world.job(A)
    actor = world.create(job, driver, max_restarts=2)
    for expected in (1, 2):
        world.start(actor)
        world.die(actor)
        assert (world.actor(actor).state, world.actor(actor).num_restarts) == (ActorState.RESTARTING, expected)
        world.sleep(1.0)
    world.start(actor)
    world.die(actor, message="third time")
    row = world.actor(actor)
    assert (row.state, row.death.message, row.incarnation) == (ActorState.DEAD, "third time", 3)


def test_quick_deaths_are_restarted_ever_more_slowly(world):
    """The first restart follows at once; a crash loop doesn't become a storm."""
    job, driver = world.job(A)
    actor = world.create(job, driver, max_restarts=-1)
    waits = []
    for _ in range(6):
        world.start(actor)
        died, before = world.now, len(world.starts())
        world.die(actor)
        while len(world.starts()) == before:
            world.now = world.state.next_due() if world.state.actors.next_due() else world.now
            world.beat(A)
            world.handle(events.Tick())
        waits.append(round(world.now - died, 3))
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6]


def test_exit_actor_and_failed_constructors_are_final_whatever_max_restarts_says(world):
    job, driver = world.job(A)
    exits = world.create(job, driver, max_restarts=-1)
    world.start(exits)
    world.die(exits, DeathKind.INTENDED_USER_EXIT, "User requested to exit the actor.")
    assert world.actor(exits).state is ActorState.DEAD
    fails = world.create(job, driver, max_restarts=-1)
    world.handle(
        events.ReportActor(node_id=A, actor_id=fails, incarnation=1, outcome=events.Outcome.CREATION_FAILED, death=None)
    )
    assert world.actor(fails).death.kind is DeathKind.CREATION_FAILED


def test_kill_with_restart_lets_max_restarts_apply(world):
    job, driver = world.job(A)
    actor = world.create(job, driver, max_restarts=1)
    world.start(actor)
    kill(world, actor, no_restart=False)
    assert world.kills() == [(actor, 1, False)]
    assert world.actor(actor).state is ActorState.ALIVE
    world.die(actor, DeathKind.KILLED)
    assert world.actor(actor).state is ActorState.RESTARTING


def test_a_repeated_kill_never_hits_the_next_incarnation(world):
    job, driver = world.job(A)
    actor = world.create(job, driver, max_restarts=-1)
    world.start(actor)
    request = events.KillActor(request_id=world.request_id(), actor_id=actor, no_restart=False)
    world.handle(request)
    world.die(actor, DeathKind.KILLED)
    world.start(actor)
    world.handle(request)
    assert world.kills() == [(actor, 1, False)]


def test_a_released_actor_ends_after_its_calls_and_its_name_is_free_at_once(world):
    job, driver = world.job(A, namespace="n")
    actor = world.create(job, driver, name="x", max_restarts=-1)
    world.start(actor)
    world.handle(events.ReleaseActor(request_id=world.request_id(), actor_id=actor))
    assert world.kills() == [(actor, 1, True)]
    with pytest.raises(ActorNotFoundError):
        world.state.actors.named("x", "n")
    assert world.actor(actor).state is ActorState.ALIVE
    world.die(actor)
    row = world.actor(actor)
    assert (row.state, row.death.message) == (
        ActorState.DEAD,
        "The actor is dead because all references to the actor were removed.",
    )


def test_a_released_actor_that_has_not_started_never_does(world):
    job, driver = world.job(A)
    actor = world.create(job, driver)
    world.handle(events.ReleaseActor(request_id=world.request_id(), actor_id=actor))
    assert world.actor(actor).state is ActorState.DEAD
    assert world.kills() == [(actor, 1, False)]


def test_the_death_of_an_owner_ends_what_it_owned_but_detached_actors(world):
    job, driver = world.job(A)
    mine = world.create(job, driver)
    detached = world.create(job, driver, detached=True)
    world.handle(events.WorkersDied(request_id=world.request_id(), node_id=A, worker_ids=(driver.worker_id,)))
    assert world.actor(mine).death.kind is DeathKind.OWNER_DIED
    assert world.actor(detached).state is ActorState.PENDING_CREATION


def test_what_a_detached_actor_owns_outlives_its_job(world):
    job, driver = world.job(A)
    root = world.create(job, driver, detached=True)
    address = world.start(root)
    child = world.create(job, address)
    world.handle(events.FinishJob(request_id=world.request_id(), job_id=job, state=JobState.SUCCEEDED))
    assert world.actor(child).state is ActorState.PENDING_CREATION
    late = world.create(job, address)
    start = world.sent[-1]
    assert isinstance(start, StartOnNode)
    assert (start.actor.actor_id, start.outlives_job) == (late, True)
    with pytest.raises(JobFinishedError):
        world.create(job, driver)


def test_the_death_of_a_node_restarts_its_actors_elsewhere_and_ends_its_drivers_jobs(world):
    world.register(B)
    job_a, driver_a = world.job(A)
    job_b, driver_b = world.job(B)
    pinned = world.create(job_b, driver_b, strategy=ANYWHERE.replace(node=A), max_restarts=1)
    moves = world.create(job_b, driver_b, strategy=ANYWHERE.replace(node=A, node_soft=True), max_restarts=1)
    orphan = world.create(job_a, driver_a, strategy=ANYWHERE.replace(node=A), detached=True, max_restarts=0)
    for actor in (pinned, moves, orphan):
        world.start(actor)
    del world.running[A]
    world.handle(events.UnregisterNode(request_id=world.request_id(), node_id=A, reason="drained"))
    assert world.state.jobs.get(job_a).state is JobState.FAILED
    assert world.actor(pinned).death.kind is DeathKind.UNSCHEDULABLE
    assert "there is no such node" in world.actor(pinned).death.message
    assert world.starts()[-1] == (moves, 2, B)
    assert world.actor(orphan).death.kind is DeathKind.NODE_DIED


def test_a_start_that_never_ran_is_placed_again_without_counting(world):
    world.register(B)
    job, driver = world.job(B)
    actor = world.create(job, driver, strategy=ANYWHERE.replace(node=A, node_soft=True))
    del world.running[A]
    world.handle(events.UnregisterNode(request_id=world.request_id(), node_id=A))
    assert world.starts() == [(actor, 1, A), (actor, 2, B)]
    assert world.actor(actor).num_restarts == 0


def test_a_refused_start_is_tried_again_later_and_an_old_answer_means_nothing(world):
    job, driver = world.job(A)
    actor = world.create(job, driver)
    refused = events.StartAnswered(
        node_id=A, actor_id=actor, incarnation=1, verdict=events.Verdict.REFUSED, reason="draining"
    )
    world.handle(refused)
    assert world.actor(actor).waiting_reason.endswith("refused it: draining")
    world.sleep(1.0)
    assert world.starts() == [(actor, 1, A), (actor, 2, A)]
    world.handle(refused)
    assert world.actor(actor).node_id == A


def test_reports_of_other_incarnations_change_nothing(world):
    job, driver = world.job(A)
    actor = world.create(job, driver)
    world.start(actor)
    before = world.actor(actor)
    for incarnation in (0, 2, 99):
        assert not world.handle(
            events.ReportActor(
                node_id=A, actor_id=actor, incarnation=incarnation, outcome=events.Outcome.DIED, death=None
            )
        )
    assert world.actor(actor) == before


def test_dependencies_hold_a_start_back_but_not_the_name(world):
    job, driver = world.job(A, namespace="n")
    actor = world.create(job, driver, name="x", dependencies_unready=True, spec=b"early")
    assert world.state.actors.named("x", "n").actor_id == actor
    assert world.starts() == []
    world.handle(events.DependenciesReady(request_id=world.request_id(), actor_id=actor, spec=b"late"))
    assert world.starts() == [(actor, 1, A)]
    assert world.actor(actor).spec.spec == b"late"


def test_names_are_per_namespace_and_free_after_death(world):
    job, driver = world.job(A, namespace="one")
    first = world.create(job, driver, name="x")
    other = world.create(job, driver, name="x", namespace="two")
    with pytest.raises(ActorAlreadyExistsError):
        world.create(job, driver, name="x")
    kill(world, first)
    second = world.create(job, driver, name="x")
    assert [row.actor_id for row in world.state.actors.names(None)] == [second, other]


def test_a_late_repetition_of_create_never_revives_a_dead_actor(world):
    job, driver = world.job(A)
    actor = world.create(job, driver, n=77)
    kill(world, actor)
    assert world.create(job, driver, n=77) == actor
    assert world.actor(actor).state is ActorState.DEAD
    assert world.starts() == [(actor, 1, A)]


def test_only_so_many_dead_actors_are_remembered():
    world = World(Limits(actors=ActorLimits(dead_kept=3)))
    world.register(A)
    job, driver = world.job(A)
    actors = [world.create(job, driver, detached=True) for _ in range(5)]
    for actor in actors:
        kill(world, actor)
    assert list(world.state.actors.rows) == actors[2:]
    assert [key for table, key in world.store if table is Table.ACTORS] == actors[2:]


def test_a_class_that_must_outlive_its_job_is_kept_as_long_as_needed(world):
    job, driver = world.job(A)
    with pytest.raises(FunctionNotFoundError):
        world.create(job, driver, detached=True, function_hash=b"h" * 16)
    world.handle(events.PutFunction(request_id=world.request_id(), job_id=job, function_hash=b"h" * 16, blob=b"code"))
    assert (Table.FUNCTIONS, b"h" * 16) not in world.store
    actor = world.create(job, driver, detached=True, function_hash=b"h" * 16)
    assert world.store[Table.FUNCTIONS, b"h" * 16] == b"code"
    world.handle(events.FinishJob(request_id=world.request_id(), job_id=job, state=JobState.SUCCEEDED))
    assert world.state.functions.get(b"h" * 16) == b"code"
    kill(world, actor)
    with pytest.raises(FunctionNotFoundError):
        world.state.functions.get(b"h" * 16)
    assert (Table.FUNCTIONS, b"h" * 16) not in world.store


def put(world, job, *hashes):
    for one in hashes:
        world.handle(
            events.PutFunction(request_id=world.request_id(), job_id=job, function_hash=one, blob=b"of " + one)
        )


def test_pieces_of_folders_are_kept_for_all_that_name_them_through_restarts(world):
    """Of an actor that cannot have all of its pieces nothing is kept."""
    one, two, three = (letter * 32 for letter in (b"1", b"2", b"3"))
    job, driver = world.job(A)
    put(world, job, one, two, three)
    with pytest.raises(FunctionNotFoundError):
        world.create(job, driver, detached=True, piece_hashes=(three, b"?" * 32))
    first = world.create(job, driver, detached=True, piece_hashes=(one, two, one))
    second = world.create(job, driver, detached=True, piece_hashes=(two,))
    world.handle(events.FinishJob(request_id=world.request_id(), job_id=job, state=JobState.SUCCEEDED))
    with pytest.raises(FunctionNotFoundError):
        world.state.functions.get(three)
    with pytest.raises(JobFinishedError):
        put(world, job, three)
    world.restart()
    world.register(A)
    assert [world.state.functions.get(each) for each in (one, two)] == [b"of " + one, b"of " + two]
    kill(world, first)
    assert world.state.functions.statistics() == {"functions": 1, "functions_bytes": 35}
    assert world.store[Table.FUNCTIONS, two] == b"of " + two
    kill(world, second)
    assert not [key for table, key in world.store if table is Table.FUNCTIONS]
    world.state.validate()


# ---- control restarts


def test_after_a_restart_actors_that_still_run_are_adopted_not_started_again(world):
    job, driver = world.job(A)
    named = world.create(job, driver, name="x", max_restarts=1)
    plain = world.create(job, driver)
    world.start(named)
    world.start(plain)
    before = {actor: world.actor(actor) for actor in (named, plain)}
    world.restart()
    world.register(A)
    assert world.starts() == []
    assert world.actor(named) == before[named]
    assert not world.actor(plain).announced
    known = events.KnownActor(incarnation=1, address=before[plain].address)
    world.create(job, driver, n=int.from_bytes(plain[:12], "big"), known=known)
    row = world.actor(plain)
    assert (row.announced, row.state, row.address) == (True, ActorState.ALIVE, before[plain].address)


def test_after_a_restart_nothing_is_placed_before_the_nodes_are_back_or_given_up(world):
    world.register(B)
    job, driver = world.job(A)
    world.restart()
    world.register(A)
    actor = world.create(job, driver)
    assert world.starts() == []
    del world.running[B]
    world.sleep(11.0)
    assert world.starts() == [(actor, 1, A)]


def test_an_owner_may_announce_before_the_node_is_back(world):
    job, driver = world.job(A)
    actor = world.create(job, driver, max_restarts=1)
    address = world.start(actor)
    world.restart()
    known = events.KnownActor(incarnation=1, address=address)
    world.create(job, driver, n=int.from_bytes(actor[:12], "big"), known=known, max_restarts=1)
    assert world.actor(actor).state is ActorState.ALIVE
    del world.running[A][actor]
    world.register(A)
    assert world.starts() == [(actor, 2, A)]


def test_an_actor_whose_owner_never_announces_it_is_ended(world):
    job, driver = world.job(A)
    actor = world.create(job, driver)
    world.start(actor)
    world.restart()
    world.register(A)
    world.sleep(31.0)
    assert world.actor(actor).death.kind is DeathKind.OWNER_DIED
    assert world.kills() == [(actor, 1, False)]


def test_a_driver_that_died_while_control_was_down_ends_its_job(world):
    job, _ = world.job(A)
    world.restart()
    world.drivers[A] = {WorkerId(b"somebody else")}
    world.register(A)
    assert world.state.jobs.get(job).state is JobState.FAILED


def test_job_ids_are_never_given_twice_in_a_stores_life(world):
    first, _ = world.job(A)
    world.restart()
    world.register(A)
    second, _ = world.job(A)
    assert (first, second) == (b"\1\0\0\0", b"\2\0\0\0")


def test_a_story_tells_what_happened_to_an_id_and_stays_bounded(world):
    job, driver = world.job(A)
    actor = world.create(job, driver, class_name="Counter")
    world.start(actor)
    kill(world, actor)
    told = [line.split(" ", 1)[1] for line in world.state.story(actor)]
    assert told == [
        "actor Counter created",
        f"start 1 placed on {A.hex()[:8]}",
        "start 1 is alive",
        "dead: The actor is dead because it was killed by `ray.kill`.",
    ]
