"""Ports of this machine for what can only be told beforehand which one to take."""

from __future__ import annotations

import random
import socket
from pathlib import Path


def free_port() -> int:
    """A port of loopback that nobody listens on now, and that the kernel gives to nobody by itself.

    One that the kernel chose (`bind` to 0) may be another process's by the time it is used: on a busy machine hundreds of
    connections are begun in between, each of which gets one of the same range.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    # Below 10,000 are ports that people know.
    candidates = range(10_000, first) if first > 11_000 else [0] * 100
    for port in random.sample(candidates, 100):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = sock.getsockname()[1]
            return found
    raise AssertionError("a hundred ports are all taken")
