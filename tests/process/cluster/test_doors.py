"""Two nodes that share nothing but control and their doors: everything between their processes goes over TLS."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

import manta
from manta.client import current
from manta.exceptions import ActorDiedError, OwnerDiedError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import PROTOCOL, Connection, encode
from manta.transport.tcp import Answer, FarSocket, Preamble, Wish
from manta.transport.tls import Tls, TlsFiles
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

    def worker(self):
        return manta.get_runtime_context().get_worker_id()

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


def test_a_stranger_without_a_certificate_is_not_listened_to(two):
    """Whoever knows the ids gets as far as the handshake: what is sent in the clear ends the connection, and harms nobody."""
    _, there = two
    account = Account.options(**THERE).remote()
    worker = manta.get(account.worker.remote(), timeout=20)
    host, port = there.door.split(":")
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(Preamble(bytes.fromhex(there.node_id), bytes.fromhex(worker)).encode())
        assert sock.recv(1) == bytes([Answer.OK])
        rest = b""
        with contextlib.suppress(ConnectionError):  # it may hang up at the first of them
            sock.sendall(encode(pb.Hello(protocol=PROTOCOL, worker_id=b"s" * 28)))
            sock.sendall(encode(pb.Exit(reason="because I say so")))
            while more := sock.recv(4096):
                rest += more
        assert len(rest) < 100, "at most TLS's alert"
    assert manta.get(account.add.remote(1)) == 1


def test_a_process_joins_the_raylet_of_its_own_node_only(two, tmp_path):
    """Through the door the raylet takes no drivers, workers or tools."""
    _, there = two
    files = TlsFiles.of_role(str(tmp_path / "credentials"), "worker", "c1")
    for role in (pb.ROLE_DRIVER, pb.ROLE_WORKER, pb.ROLE_TOOL):
        preamble = Preamble(bytes.fromhex(there.node_id), wish=Wish.RAYLET)
        with contextlib.closing(Connection.over(FarSocket.dial(there.door, preamble, Tls(files)))) as connection:
            connection.send(pb.Hello(protocol=PROTOCOL, role=role, worker_id=os.urandom(28), python="3.11"))
            frames = []

            def answered(connection=connection, frames=frames):
                connection.flush()
                frames += connection.receive()
                return frames

            wait_until(answered)
            assert "joins the raylet of its own node" in frames[0][1].error.message


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
