"""Two nodes that share nothing but control and their doors: everything between their processes goes over TLS."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

import manta
from manta.client import current
from manta.exceptions import ActorDiedError, OwnerDiedError
from tests.process.cluster.machines import alive, joined, machines
from tests.process.semantics.support import is_running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.cluster.machines import Machine

CLUSTER = None


@pytest.fixture
def two(tmp_path) -> Iterator[tuple[Machine, Machine]]:
    """A node on which this process is a driver, and another one with a resource of its own."""
    with machines(tmp_path) as cluster:
        here = cluster.add("here", cpus=2)
        there = cluster.add("there", cpus=1, resources={"there": 4})
        with joined(here):
            alive(2)
            yield here, there


@manta.remote(num_cpus=0)
class Account:
    def __init__(self, balance=0):
        self.balance = balance
        self.kept = None

    def node(self):
        return manta.get_runtime_context().get_node_id()

    def pid(self):
        return os.getpid()

    def add(self, amount):
        self.balance += amount
        return self.balance

    def keep(self, refs):
        self.kept = refs[0]

    def read(self):
        return manta.get(self.kept)

    def make(self, value):
        return [manta.put(value)]

    def call(self, other, amount):
        return manta.get(other.add.remote(amount))


THERE = {"resources": {"there": 1}}


def test_an_actor_on_another_node_is_called_through_its_door(two):
    """Calls, their results and errors travel between the processes; in order."""
    _, there = two
    account = Account.options(**THERE).remote(100)
    assert manta.get(account.node.remote(), timeout=20) == there.node_id
    assert manta.get([account.add.remote(1) for _ in range(500)]) == list(range(101, 601))
    with pytest.raises(TypeError):
        manta.get(account.add.remote("nothing"))


def test_refs_pass_both_ways(two):
    """A borrower elsewhere reads what this process owns, and this process what an actor elsewhere owns."""
    account = Account.options(**THERE).remote()
    ref = manta.put("mine")
    manta.get(account.keep.remote([ref]), timeout=20)
    assert manta.get(account.read.remote()) == "mine"
    (theirs,) = manta.get(account.make.remote("theirs"))
    assert manta.get(theirs) == "theirs"
    del ref
    assert manta.get(account.read.remote()) == "mine", "the borrower keeps it"


def test_a_connection_that_breaks_is_not_a_process_that_died(two):
    """It is dialled again: what is borrowed stays borrowed, what is asked for comes."""
    account = Account.options(**THERE).remote()
    ref = manta.put("mine")
    manta.get(account.keep.remote([ref]), timeout=20)
    (theirs,) = manta.get(account.make.remote("theirs"))
    cut_every_far_link()
    assert manta.get(theirs, timeout=20) == "theirs"
    oid = ref.binary()
    del ref
    manta.get(Account.remote().add.remote(1), timeout=20)  # time enough to be freed
    assert oid in current.session.ownership.borrowers


def cut_every_far_link():
    """As when the network between two machines resets their connections."""
    session = current.session
    with session.lock:
        far = [link for link in session.links.peers.values() if link.far is not None]
        for link in far:
            with socket.socket(fileno=os.dup(link.connection.fd)) as sock:
                sock.shutdown(socket.SHUT_RDWR)
    assert far, "there is no connection to another node"


def test_actors_of_two_nodes_call_each_other(two):
    """A handle goes anywhere: from the driver's node to the other, and what it names is called from there."""
    near, far = Account.options(num_cpus=1).remote(), Account.options(**THERE).remote()
    assert manta.get(far.call.remote(near, 5), timeout=20) == 5
    assert manta.get(near.call.remote(far, 7), timeout=20) == 7


def test_the_end_of_an_owner_on_another_node_is_noticed(two):
    """Its objects are lost, its actor is dead, and nobody waits."""
    account = Account.options(**THERE).remote()
    (theirs,) = manta.get(account.make.remote("theirs"), timeout=20)
    pid = manta.get(account.pid.remote())
    manta.kill(account)
    wait_until(lambda: not is_running(pid))
    with pytest.raises(OwnerDiedError):
        manta.get(theirs, timeout=20)
    with pytest.raises(ActorDiedError):
        manta.get(account.add.remote(1), timeout=20)


def test_a_node_that_is_killed_takes_its_actors_with_it(two):
    """And what this process had lent there is free again."""
    here, there = two
    account = Account.options(**THERE).remote()
    ref = manta.put(bytes(1 << 20))
    before = here.store()["objects"]
    manta.get(account.keep.remote([ref]), timeout=20)
    (theirs,) = manta.get(account.make.remote("theirs"))
    del ref
    there.kill()
    with pytest.raises(ActorDiedError):
        manta.get(account.add.remote(1), timeout=20)
    with pytest.raises(OwnerDiedError):
        manta.get(theirs, timeout=20)
    alive(1)
    wait_until(lambda: here.store()["objects"] < before, what="the borrowed object to be freed")
