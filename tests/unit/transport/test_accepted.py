"""gRPC's name of a peer and the kernel's are the same peer."""

from __future__ import annotations

import os
import socket

import pytest

from manta.transport.accepted import _peer, named, open_files


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
