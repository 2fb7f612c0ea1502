"""Small histories of one cluster on a Kubernetes where everything fails, chosen by a seed, and how they end.

A failing seed is named and repeats itself; one that once failed stands in `regressions.txt` and runs first from then on.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sim.reconciling.world import World

#: More by hand: MANTA_TEST_SEEDS=1000.
SEEDS = range(int(os.environ.get("MANTA_TEST_SEEDS", "80")))
KEPT = Path(__file__).parent / "regressions.txt"
REGRESSIONS = [int(line.split()[0]) for line in KEPT.read_text().splitlines() if line and not line.startswith("#")]
ROUNDS = 30


def end_of(world):
    """What a cluster of the same spec is like that was never anything else."""
    fresh = World(0, spec=world.raw["spec"])
    annotations = world.raw["metadata"].get("annotations")
    if annotations:
        fresh.raw["metadata"]["annotations"] = annotations
    fresh.settle()
    return fresh.normal()


@pytest.mark.parametrize("seed", [*REGRESSIONS, *(seed for seed in SEEDS if seed not in REGRESSIONS)])
def test_whatever_happens_the_cluster_ends_as_if_it_had_always_been_so(seed):
    """Every third seed has two operators at once that see late what they themselves did; in the others one dies now and then.

    After every write: workers are not too many, none that works is deleted undrained, nobody's but ours are touched, keys and
    tokens stay. In the end: nothing to do, and the same as a fresh cluster of that spec, unless pods may stay old (OnDelete).
    """
    world = World(seed, wild=seed % 3 == 2)
    world.run(ROUNDS)
    world.settle()
    world.check_done()
    assert world.truth is not None
    if world.raw["spec"].get("upgradeStrategy", {}).get("type") != "OnDelete":
        assert world.normal() == end_of(world)


def test_a_cluster_at_rest_is_left_alone_for_as_long_as_its_certificates_last():
    """No write, however often it is looked at and whatever time passes."""
    world = World(1)
    world.settle()
    writes, version = world.writes, world.server.version
    for _ in range(50):
        world.now += 3600
        for operator in world.operators:
            assert operator.decide().at_rest
    assert (world.writes, world.server.version) == (writes, version)


def test_a_cluster_is_made_in_few_looks():
    """Authority, then what is made of it, then pods: each needs to see the one before, and nothing else waits."""
    world = World(1)
    looks = 0
    operator = world.operators[0]
    while not any(name.startswith("demo-w-") for name in world.server.objects["pods"]) and looks < 20:
        looks += 1
        operator.look(1.0)
        operator.step()
        while operator._running is not None:
            operator.step()
    assert looks == 3
