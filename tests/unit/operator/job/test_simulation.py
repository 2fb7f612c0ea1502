"""Whatever goes wrong, and in whatever order: a job runs once at a time, is tried as often as it may be, and ends once."""

from __future__ import annotations

import os
import random

import pytest

from manta_operator.job.leaving import PATIENCE_S
from manta_operator.job.seen import ClusterSeen
from tests.unit.operator.job.world import Head, World, raw_job, settle

#: Seeds of one test; more with HYPOTHESIS_PROFILE=thorough.
SEEDS = range(1000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 40)


def step(world, *, suspends, deletes):
    """Something happens."""
    dice = world.dice
    match dice.choices(
        (
            "look",
            "hear",
            "see",
            "listen",
            "run",
            "time",
            "cut",
            "restart",
            "cluster",
            "memory",
            "suspend",
            "delete",
            "stop",
        ),
        (30, 25, 12, 8, 15, 5, 3, 3, 2, 1, 4 * suspends, 1 * deletes, 0),
    )[0]:
        case "look":
            world.look(die=dice.choice((-1, -1, -1, 0, 1, 2)))
        case "hear":
            world.hear()
        case "see":
            world.see()
        case "listen":
            world.listen()
        case "run":
            alive = [one for one, run in world.head.runs.items() if run.alive]
            if alive and world.head_up:
                world.progress(dice.choice(alive))
        case "time":
            world.now += dice.choice((1, 15, 100))
        case "cut":
            world.cut()
        case "restart":
            world.restart()
        case "cluster":
            world.kill_runs()
            if world.cluster is None:
                world.cluster, world.head = ClusterSeen(), Head()
                world.mirror = type(world.mirror)()
            elif world.cluster.suspended:
                world.cluster = ClusterSeen()
            elif dice.random() < 0.5:
                world.cluster = ClusterSeen(suspended=True)
            else:
                world.cluster, world.head = None, Head()
                world.mirror = type(world.mirror)()
        case "memory":
            world.kill_runs()
            world.head = Head()
        case "suspend":
            world.change_spec(suspend=not world.raw["spec"].get("suspend", False))
        case "delete":
            world.delete()


def calm(world):
    """Everybody comes back, and nobody changes their mind any more."""
    if world.cluster is None:
        world.head = Head()
        world.mirror = type(world.mirror)()
    world.cluster = ClusterSeen()
    if world.raw["spec"].get("suspend"):
        world.change_spec(suspend=False)


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_job_ends_once_after_no_more_tries_than_it_may_have(limit):
    """Killed between any two words, cut off, late and twice told, its cluster suspended, lost and back."""
    for seed in SEEDS:
        world = World(random.Random(seed), raw_job(backoffLimit=limit))
        for _ in range(120):
            step(world, suspends=False, deletes=False)
            world.check()
        calm(world)
        settle(world)
        assert world.raw["status"]["phase"] in ("Succeeded", "Failed"), seed
        assert not world.raw["metadata"].get("finalizers"), seed


def test_suspended_and_resumed_it_still_runs_once_at_a_time():
    """A suspension costs no try, and what it stopped begins anew."""
    for seed in SEEDS:
        world = World(random.Random(seed), raw_job(backoffLimit=2, suspend=False))
        for _ in range(150):
            step(world, suspends=True, deletes=False)
            world.check()
        calm(world)
        settle(world)
        status = world.raw["status"]
        assert status["phase"] in ("Succeeded", "Failed"), seed


def test_a_deleted_object_leaves_nothing_that_runs():
    """Unless its cluster could not be reached for minutes."""
    for seed in SEEDS:
        world = World(random.Random(seed), raw_job(backoffLimit=2))
        for _ in range(100):
            step(world, suspends=False, deletes=True)
            if world.exists:
                world.check()
        calm(world)
        deleted_at = world.now
        world.delete()
        if world.exists:
            settle(world)
        assert not world.exists, seed
        alive = [one for one, run in world.head.runs.items() if run.alive]
        assert not alive or (world.released_at or 0) >= deleted_at + PATIENCE_S, seed


def test_once_ended_it_is_deleted_when_its_time_is_over():
    """And not before."""
    for seed in SEEDS[:10]:
        world = World(random.Random(seed), raw_job(ttlSecondsAfterFinished=60))
        settle(world)
        assert not world.exists, seed
        assert world.ended is not None
