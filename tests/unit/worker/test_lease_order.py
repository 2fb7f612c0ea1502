"""A worker hears of its lease on one socket, from the raylet, and of the first task on another, from the owner."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace

import pytest

from manta.client.links import Link
from manta.client.user import UserSession
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.transport.channel import NUMBER, Connection
from manta.worker.executor import Executor


@pytest.fixture
def worker():
    """An executor, what its raylet says to it, and the link of an owner."""
    (near, far), (owner, other) = socket.socketpair(), socket.socketpair()
    session = UserSession(pb.ROLE_WORKER, os.urandom(28))
    session.raylet = Link(Connection(near))
    session.links.adopt(session.raylet)
    raylet = Connection(far)
    link = Link(Connection(owner))
    yield SimpleNamespace(session=session, executor=Executor(session), raylet=raylet, owner=link)
    raylet.close()
    link.connection.close()
    other.close()
    session.raylet.connection.close()
    session.pump.close()


def started(lease_id, gpu):
    return pb.LeaseStarted(lease_id=lease_id, resources=common.Resources(amounts={"GPU": 10_000}), gpu_ids=[gpu])


def opened(worker, lease_id):
    frame = pb.OpenLease(lease_id=lease_id)
    worker.session.links.handlers[NUMBER[pb.OpenLease]](worker.owner, frame, b"")


def test_what_the_raylet_said_before_counts_though_the_owners_word_is_read_first(worker, monkeypatch):
    """The raylet's was there before the owner knew of the lease; a round of reading may have looked at its socket just before."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    worker.raylet.send(started(1, "0"))
    opened(worker, 1)
    assert worker.executor.gpu_ids == ["0"]
    worker.raylet.send(started(2, "1"))
    opened(worker, 2)
    assert worker.executor.gpu_ids == ["1"]
