"""Small histories of whole clusters, chosen by a seed: connections break, nodes crash and stand still, control is killed.

A failing seed is named and repeats itself; one that once failed stands in `regressions.txt` and runs first from then on.
"""

from __future__ import annotations

import pytest

from tests.sim.cluster.owner import CPU, Owner
from tests.sim.cluster.world import World
from tests.sim.seeds import Seeds

SEEDS = Seeds("regressions.txt")
#: One seed in so many has a hundred nodes: each costs as much as ten others.
LARGE_EVERY = 40
#: Faults happen up to then, seconds; and so long after the last everything is over.
FAULTS_S = 12.0
LIMIT_S = 150.0


def program(owner: Owner) -> None:
    """What a driver does: tasks of some kinds at several times, actors, placement groups with tasks in them."""
    world, chance = owner.world, owner.world.clock.chance
    for _ in range(chance.randint(1, 3)):
        amounts = {"CPU": chance.choice((CPU, CPU, CPU // 2, 2 * CPU))}
        if chance.random() < 0.2:
            amounts["x"] = CPU
        owner.kind(
            amounts,
            chance.choice((100, 1_000, 100_000, 2_000_000)),
            large=chance.random() < 0.4,
            max_retries=chance.choice((0, 1, 3)),
        )
    made: list[bytes] = []

    def submit() -> None:
        held = [oid for oid in made if oid not in owner.dropped]
        # Large values are read where the task runs: some tasks read several, and some values are read again and again.
        large = [oid for oid in held if oid in owner.large]
        among = large if chance.random() < 0.6 else held
        after = chance.sample(among, min(len(among), chance.choice((0, 1, 3))))
        made.extend(owner.submit(chance.choice(owner.kinds), chance.choice((1, 5, 20)), after))

    for _ in range(chance.randint(1, 4)):
        world.clock.after(chance.random() * FAULTS_S * 0.7, submit)
    for _ in range(chance.randint(0, 2)):
        world.clock.after(chance.random() * 4, lambda: actor(owner))
    for _ in range(chance.randint(0, 2)):
        world.clock.after(chance.random() * 6, lambda: group(owner))


def actor(owner: Owner) -> None:
    if not owner.alive or owner.finished:
        return
    chance = owner.world.clock.chance
    owner.create_actor(
        chance.choice(("", "one", "two")), detached=chance.random() < 0.5, max_restarts=chance.choice((0, 2, -1))
    )
    if chance.random() < 0.3:
        actor_id = list(owner.actors)[-1]
        no_restart = chance.random() < 0.5
        owner.world.clock.after(
            chance.random() * 4, lambda: owner.kill_actor(actor_id, no_restart=no_restart) if owner.alive else None
        )


def group(owner: Owner) -> None:
    if not owner.alive or owner.finished:
        return
    world, chance = owner.world, owner.world.clock.chance
    bundles = [{"CPU": chance.choice((CPU, 2 * CPU))} for _ in range(chance.randint(1, 3))]
    group_id = owner.create_group(bundles, chance.choice((1, 2, 3, 4)), detached=chance.random() < 0.2)
    index = chance.randrange(len(bundles))
    kind = owner.kind(owner.inside({"CPU": CPU}, group_id, index), 50_000, large=False, max_retries=3)
    owner.kinds.remove(kind)
    world.clock.after(chance.random(), lambda: owner.submit(kind, chance.choice((1, 4))))
    # What never fits, or waits for others, would keep its tasks for ever: every group goes, some of them early.
    end = chance.choice((1.0, 5.0, FAULTS_S + 10.0))
    world.clock.after(end, lambda: owner.remove_group(group_id) if owner.alive else None)


def faults(world: World, *, spared: int) -> None:
    """What goes wrong, and when. Some node is left, and control comes back."""
    chance = world.clock.chance

    def node() -> None:
        living = [raylet for raylet in world.raylets.values() if raylet.number > spared]
        if living:
            world.crash(chance.choice(living), "it crashes", silent=chance.random() < 0.3)
        if chance.random() < 0.5:
            world.add_node({"CPU": chance.choice((2, 4)) * CPU, "x": CPU})

    def pause() -> None:
        living = list(world.raylets.values())
        if living:
            raylet, seconds = chance.choice(living), chance.choice((0.5, 3.0, 15.0))
            if raylet.number <= spared:
                seconds = min(seconds, 3.0)
            world.note(f"node {raylet.number} stands still for {seconds} s")
            raylet.machine.stands_still_until = world.clock.now + seconds

    def partition() -> None:
        living = list(world.raylets.values())
        if living:
            raylet, seconds = chance.choice(living), chance.choice((1.0, 5.0, 20.0))
            if raylet.number <= spared:
                seconds = min(seconds, 5.0)
            world.note(f"node {raylet.number} is cut off for {seconds} s")
            raylet.machine.cut_off_until = world.clock.now + seconds

    def owner() -> None:
        living = [owner for owner in world.owners if owner.alive and owner.number > 1]
        if living:
            one = chance.choice(living)
            world.note(f"owner {one.number} is killed")
            one.die()

    def drain() -> None:
        living = [raylet for raylet in world.raylets.values() if raylet.number > spared]
        if living:
            world.drain(chance.choice(living), chance.choice((2.0, 10.0, 20.0)))

    def several(most: int, what: object) -> None:
        for _ in range(chance.randint(0, most)):
            world.clock.after(chance.random() * FAULTS_S, what)  # type: ignore[arg-type]

    several(2, node)
    several(1, pause)
    several(1, partition)
    several(1, owner)
    several(1, drain)
    several(6, world.kill_worker)
    several(8, world.cut_something)
    several(2, lambda: world.kill_control(chance.choice((0.1, 1.0, 5.0))))


@pytest.mark.parametrize("seed", SEEDS.all())
def test_whatever_breaks_every_task_ends_once_and_everything_is_given_back(seed):
    """I1 no lost work, I3 execution counts, I5 resources conserved, I6 no leak, I8 durable acknowledgements, I10 bounded time."""
    with SEEDS.keeping(seed), World.of(seed) as world:
        try:
            run(world, large=seed % LARGE_EVERY == LARGE_EVERY - 1)
        except BaseException:
            print(*world.history, f"at rest: {world.at_rest() or 'yes'}", sep="\n  ")
            raise


def test_the_same_seed_is_the_same_history():
    def history() -> list[object]:
        with World.of(7) as world:
            run(world, large=False)
            return [world.clock.now, world.history, world.ledger]

    assert history() == history()


def run(world: World, *, large: bool) -> None:
    """One history, to its end."""
    clock, chance = world.clock, world.clock.chance
    first = world.add_node({"CPU": 4 * CPU, "x": CPU})
    homes = [first]
    for _ in range(99 if large else chance.randint(2, 7)):
        total = {"CPU": chance.choice((1, 2, 4)) * CPU}
        if chance.random() < 0.3:
            total["x"] = CPU
        homes.append(world.add_node(total))
    clock.after(0.5, lambda: world.add_owner(first, program))
    for _ in range(2):
        home = chance.choice(homes)
        clock.after(
            0.5 + chance.random(), lambda home=home: world.add_owner(home, program) if home.machine.alive else None
        )
    faults(world, spared=1)
    # Whatever was lost, there is room for everything once it is calm.
    clock.after(FAULTS_S + 1.0, lambda: world.add_node({"CPU": 4 * CPU, "x": CPU}))
    calm = FAULTS_S + 20.0
    clock.run(until=lambda: clock.now > calm, limit_s=LIMIT_S)
    world.validate()
    clock.run(until=lambda: world.tasks_over(), limit_s=LIMIT_S)
    clock.run(until=lambda: world.groups_settled() and world.actors_settled(), limit_s=LIMIT_S)
    world.validate()
    world.check_tasks()
    for owner in world.owners:
        if owner.alive:
            owner.drop_all()
            owner.finish()
    end = clock.now + 5.0
    clock.run(until=lambda: clock.now > end, limit_s=LIMIT_S + 10)
    clock.run(
        until=lambda: world.control.alive and world.actors_settled() and not world.at_rest(), limit_s=LIMIT_S + 40
    )
    world.validate()
    assert set(world.control.state.nodes.alive()) == set(world.raylets), "who is dead is known"
