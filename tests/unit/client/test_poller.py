"""What stands in for epoll and eventfd where they are not does what the pump asks of them."""

from __future__ import annotations

import socket
import threading

import pytest

from manta.client.poller import Poke, Select

IN, OUT = 1, 4


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
def select():
    select = Select()
    yield select
    select.close()


def quiet(select: Select) -> None:
    """Past what says that there is something new to look at."""
    while select.poll(0):
        pass


def test_a_descriptor_is_told_of_while_it_can_be_read(select, pair):
    near, far = pair
    select.register(near.fileno(), IN)
    quiet(select)
    far.send(b"x")
    assert select.poll(5) == [(near.fileno(), IN)]
    near.recv(1)
    assert select.poll(0) == []


def test_writing_is_told_of_only_when_it_is_asked_for(select, pair):
    near, _ = pair
    select.register(near.fileno(), IN)
    quiet(select)
    assert select.poll(0) == []
    select.modify(near.fileno(), IN | OUT)
    assert (near.fileno(), OUT) in select.poll(0) + select.poll(0)


def test_a_poll_that_waits_looks_at_what_is_new(select, pair):
    near, far = pair
    quiet(select)
    found: list[tuple[int, int]] = []

    def poll() -> None:
        while not found:
            found.extend(select.poll(10))

    thread = threading.Thread(target=poll)
    thread.start()
    far.send(b"x")
    select.register(near.fileno(), IN)
    thread.join(10)
    assert found == [(near.fileno(), IN)]


def test_what_was_unregistered_and_closed_is_not_looked_at(select, pair):
    near, far = pair
    select.register(near.fileno(), IN)
    far.send(b"x")
    select.unregister(near.fileno())
    assert select.poll(0) == []


def test_a_poke_is_heard_once_however_often_it_was_given():
    poke, select = Poke(), Select()
    select.register(poke.fileno(), IN)
    quiet(select)
    for _ in range(100_000):
        poke.set()
    assert select.poll(0) == [(poke.fileno(), IN)]
    poke.clear()
    assert select.poll(0) == []
    select.close()
    poke.close()
    poke.close()
    poke.set()
