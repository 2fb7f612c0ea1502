"""Bytes between nodes are counted as they move, once, and never fewer than before."""

from __future__ import annotations

from manta.raylet.objects.traffic import IN, OUT, Sent, Traffic


def test_a_transfer_counts_while_it_runs_and_after_it_has_ended():
    traffic, one, other = Traffic(), Sent(), Sent()
    traffic.begun(OUT, one)
    traffic.begun(IN, other)
    one.have, other.have = 10, 3
    assert traffic.totals() == {"in": 3, "out": 10}
    one.have = 20
    traffic.ended(one)
    traffic.ended(one)
    assert traffic.totals() == {"in": 3, "out": 20}


def test_what_was_refused_before_it_began_moved_nothing():
    traffic = Traffic()
    traffic.ended(Sent())
    assert traffic.totals() == {"in": 0, "out": 0}
