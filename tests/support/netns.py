"""Hosts as network namespaces: machines of their own as far as the network goes, joined by a switch, on one real machine.

A host has an address in 10.77.0.0/24 and loopback; nothing of it is seen outside, so that two runs never meet. Its cable can be
pulled. It needs root and `ip`; elsewhere tests are skipped and say so, but never in CI.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def what_is_missing() -> str:
    """Why there can be no hosts here; empty if there can."""
    for program in ("ip", "nsenter", "ss"):
        if shutil.which(program) is None:
            return f"`{program}` is not installed"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    name = f"mt-{secrets.token_hex(3)}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces cannot be made here: {done.stderr.strip()}"
    _ip("netns", "delete", name)
    return ""


def need_hosts() -> None:
    """Skip the test where there can be no hosts; in CI fail it."""
    missing = what_is_missing()
    if not missing:
        return
    import pytest  # here, as benchmarks make hosts too, where there is no pytest

    if os.environ.get("CI"):
        pytest.fail(f"hosts as network namespaces are not there, and CI must not go without: {missing}")
    pytest.skip(f"needs hosts as network namespaces: {missing}")


class Host:
    """One machine.

    Attributes:
        address: Its address.
        temp: Its folder for temporary files, with sessions of its own.
    """

    def __init__(self, name: str, port: str, switch: str, address: str, temp: Path) -> None:
        self.address = address
        self.temp = temp
        self._name, self._port, self._switch = name, port, switch

    @property
    def namespace(self) -> str:
        """The file that stands for its network."""
        return f"/var/run/netns/{self._name}"

    def command(self, words: Sequence[str]) -> list[str]:
        """A command line that runs there."""
        return ["nsenter", f"--net={self.namespace}", *words]

    def environment(self) -> Mapping[str, str]:
        """For programs that run there."""
        return {**os.environ, "MANTA_TMPDIR": str(self.temp), "TMPDIR": str(self.temp)}

    def start(self, words: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program."""
        return subprocess.Popen(self.command(words), env=self.environment(), text=True, **options)

    def run(self, words: Sequence[str], *, timeout_s: float = 50) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            self.command(words),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def pull_the_cable(self) -> None:
        """Nothing gets in or out any more, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._port, "nomaster")

    def plug_it_in(self) -> None:
        """As before."""
        _ip("-n", self._switch, "link", "set", self._port, "master", "bridge")

    def drop(self, other: Host) -> None:
        """What this host sends to that one is lost, and nobody is told; the other direction is as it was."""
        _ip("-n", self._name, "route", "add", "blackhole", f"{other.address}/32")

    def let_through(self, other: Host) -> None:
        """As before."""
        _ip("-n", self._name, "route", "delete", "blackhole", f"{other.address}/32")

    def reset(self, port: int) -> int:
        """Reset every connection of this host to or from a port, at both ends; how many there were."""
        done = self.run(
            ["ss", "--no-header", "-K", "-t", "state", "established", f"( dport = :{port} or sport = :{port} )"]
        )
        return len(done.stdout.splitlines())


@contextlib.contextmanager
def hosts(count: int, temp: Path) -> Iterator[list[Host]]:
    """Some machines on one network.

    Args:
        count: How many.
        temp: Folder for their temporary files; short, as it holds Unix sockets.
    """
    need_hosts()
    run = secrets.token_hex(3)
    switch = f"mt-{run}-switch"
    made: list[str] = []
    try:
        _ip("netns", "add", switch)
        made.append(switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        found = []
        for number in range(1, count + 1):
            name, port, address = f"mt-{run}-{number}", f"port{number}", f"10.77.0.{number}"
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", name, "link", "set", device, "up")
            # So that `manta start` finds the host's address as on a machine that reaches the world.
            _ip("-n", name, "route", "add", "default", "dev", "eth0")
            folder = temp / f"h{number}"
            folder.mkdir()
            found.append(Host(name, port, switch, address, folder))
        yield found
    finally:
        for name in made:
            _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
