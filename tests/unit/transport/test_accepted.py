"""What is seen of gRPC's connections from outside: whose they are, how many files are open, and what becomes of strangers."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket

import pytest

from manta.transport import accepted
from manta.transport.accepted import Accepted, _peer, named, open_files


@pytest.mark.parametrize(
    ("grpc", "kernel"),
    [
        ("ipv4:10.0.0.1:4711", ("10.0.0.1", 4711)),
        ("ipv4:10.0.0.1:4711", ("::ffff:10.0.0.1", 4711)),
        ("ipv6:%5B2001:db8::1%5D:4711", ("2001:db8::1", 4711)),
        ("ipv6:%5Bfe80::1%252%5D:4711", ("fe80::1%eth0", 4711)),
        ("unix:", ("", 0)),
        ("unix:/run/manta/control.sock", ("", 0)),
        ("", ("", 0)),
    ],
)
def test_both_names_of_a_peer_are_one(grpc, kernel):
    assert named(grpc) == _peer(*kernel) if kernel[1] else named(grpc).port == 0


def test_open_files_are_counted():
    before = open_files()
    with socket.socket(), open(os.devnull):
        # One more may be the folder that is being read.
        assert before + 2 <= open_files() <= before + 3
    assert open_files() <= before + 1


@pytest.fixture
def connected():
    """A listener and connections to it, as (accepted, dialled)."""
    pairs = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(6):
            dialled = socket.create_connection(listener.getsockname())
            pairs.append((listener.accept()[0], dialled))
        yield listener, pairs
        for pair in pairs:
            for sock in pair:
                sock.close()


def test_strangers_that_are_too_many_see_the_end_and_who_has_shown_a_credential_does_not(connected, monkeypatch):
    """The oldest is the one that is spared."""
    monkeypatch.setattr(accepted, "CALM_S", 0.001)
    listener, pairs = connected
    everyone = Accepted(most=5)
    everyone.shown(f"ipv4:127.0.0.1:{pairs[0][1].getsockname()[1]}")
    asyncio.run(watched(everyone, listener, 3))
    ended = [dialled for _, dialled in pairs if select.select([dialled], [], [], 0)[0]]
    assert [sock.recv(1) for sock in ended] == [b""] * 3
    assert pairs[0][1] not in ended


def test_a_process_without_a_free_descriptor_lives_on_and_looks_again(connected, monkeypatch):
    monkeypatch.setattr(accepted, "CALM_S", 0.001)
    listener, pairs = connected
    real, tries = os.dup, []

    def dup(descriptor):
        tries.append(descriptor)
        if len(tries) < 5:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(descriptor)

    monkeypatch.setattr(accepted.os, "dup", dup)
    asyncio.run(watched(Accepted(most=2), listener, len(pairs) - 1))


async def watched(everyone: Accepted, listener: socket.socket, dismissed: int) -> None:
    """Keep room until so many had to go."""
    watching = asyncio.ensure_future(everyone.keep_room(listener.getsockname()[1]))
    while everyone.dismissed < dismissed:
        await asyncio.sleep(0.001)
        assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
