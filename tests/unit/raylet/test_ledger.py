"""What a node has, and who may have it."""

from __future__ import annotations

import pytest

from manta.raylet.scheduling.ledger import Ledger


def test_what_is_taken_is_not_there_until_it_is_given_back():
    ledger = Ledger({"CPU": 20_000, "GPU": 10_000})
    shares = ledger.take({"CPU": 15_000, "GPU": 5_000})

    assert {"CPU": 5_000, "GPU": 5_000} == ledger.available
    assert not ledger.fits({"CPU": 5_001})
    assert ledger.fits({"CPU": 5_000, "GPU": 5_000})
    ledger.give_back({"CPU": 15_000, "GPU": 5_000}, shares)
    assert {"CPU": 20_000, "GPU": 10_000} == ledger.available


def test_whoever_needs_no_cpu_starts_while_cpus_are_over_committed():
    ledger = Ledger({"CPU": 10_000})
    ledger.take({"CPU": 10_000})
    ledger.retake_cpu(10_000)

    assert ledger.fits({})
    assert not ledger.fits({"CPU": 1})


@pytest.mark.parametrize(
    ("amounts", "feasible"),
    [
        ({"CPU": 20_000}, True),
        ({"CPU": 20_001}, False),
        ({"GPU": 20_000}, True),
        ({"GPU": 15_000}, False),
        ({"unheard of": 1}, False),
        ({"unheard of": 0}, True),
    ],
)
def test_feasible_is_what_an_empty_node_could_give(amounts, feasible):
    ledger = Ledger({"CPU": 20_000, "GPU": 20_000})
    ledger.take({"CPU": 20_000})

    assert feasible == ledger.feasible(amounts)


def test_half_of_one_gpu_and_half_of_another_are_not_a_whole_one():
    ledger = Ledger({"GPU": 20_000}, ("3", "7"))
    first = ledger.take({"GPU": 6_000})
    second = ledger.take({"GPU": 6_000})

    assert ((("3", 6_000),), (("7", 6_000),)) == (first, second)
    assert not ledger.fits({"GPU": 10_000})


def test_names_of_gpus_are_as_many_as_gpus():
    with pytest.raises(ValueError, match="2 GPUs need 2 names, got 1: 0"):
        Ledger({"GPU": 20_000}, ("0",))
