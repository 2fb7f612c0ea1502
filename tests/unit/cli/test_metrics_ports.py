"""Which ports show health and metrics."""

from __future__ import annotations

import pytest

from manta.cli.metrics_ports import OFFSETS, MetricsPorts
from manta.core.errors import SettingError


def chosen(taken: set[int], processes: list[str] | None = None, port: int | None = 8090) -> list[int | None]:
    ports = MetricsPorts("127.0.0.1", port, free=lambda host, port: 0 if port in taken else port or 41_000)
    found = [ports.choose(process) for process in (processes or list(OFFSETS))]
    return [None if one is None else one[1] for one in found]


def test_the_usual_ones_while_they_are_free():
    assert chosen(set()) == [8090, 8091, 8092, 8093]


def test_a_second_node_of_a_machine_gets_the_next_free_one():
    assert chosen({8090, 8091, 8092, 8093}, ["raylet"]) == [8094]


def test_what_is_taken_costs_the_neighbours_nothing():
    """The raylet's is taken: it does not take control's instead."""
    assert chosen({8090}) == [8094, 8091, 8092, 8093]


def test_a_second_head_of_a_machine_gets_four_that_are_free_and_differ():
    assert chosen({8090, 8091, 8092, 8093}) == [8094, 8095, 8096, 8097]


def test_none_are_wanted():
    assert chosen(set(), port=None) == [None] * 4


def test_when_none_is_free_the_setting_is_named():
    with pytest.raises(SettingError, match="metrics_port"):
        chosen(set(range(65536)))
