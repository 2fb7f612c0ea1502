"""Semaphores of leases whose owners are elsewhere: what they say of a worker that is dead."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from manta.client.far_leases import FarTokens
from manta.raylet.semaphores import Semaphores

LEASE: Any = SimpleNamespace(worker_id=b"w", owner=b"o", actor=None)


@pytest.fixture
def semaphores():
    made = Semaphores({7: LEASE}.get)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("pushed", "read", "begun", "taken"),
    [(5, 0, 0, 0), (5, 3, 0, 0), (5, 3, 2, 0), (5, 5, 5, 0), (8, 6, 1, 3), (8, 6, 3, 3), (0, 0, 0, 0)],
)
def test_what_a_dead_worker_has_not_begun_is_known_whether_it_was_read_or_not(semaphores, pushed, read, begun, taken):
    owner = FarTokens()
    owner.put(pushed)
    semaphore, counter = semaphores.of(7, b"w")
    if read:
        os.eventfd_write(counter, read)
        os.eventfd_write(semaphore, read)
    for _ in range(begun):
        os.eventfd_read(semaphore)
    assert semaphores.take(b"o", 7, taken) == taken
    owner.taken += taken
    started = semaphores.end(7)
    assert started == begun
    owner.ended(started)
    assert owner.take(100) == pushed - begun - taken
    assert owner.take(100) == 0


def test_a_worker_that_died_before_anybody_came_has_begun_nothing(semaphores):
    assert semaphores.end(7) == 0
    assert semaphores.of(8, b"w") is None
    assert semaphores.of(7, b"x") is None
    assert semaphores.take(b"stranger", 7, 1) == 0
