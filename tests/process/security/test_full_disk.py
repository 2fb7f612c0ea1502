"""A head whose disk fills up while a driver works: what runs goes on, what is new is refused by name, and room is noticed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import StorageUnwritableError
from tests.support import heads
from tests.support.disks import disk, fill, needs_mounts
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.shared_cluster, needs_mounts]


@pytest.fixture(scope="module")
def place(module_sandbox) -> Iterator[Path]:
    """The disk of control's store."""
    folder = module_sandbox.path / "small"
    with disk(folder, "size=12m"):
        yield folder
    folder.rmdir()


@pytest.fixture(scope="module")
def head(place) -> Iterator[heads.Head]:
    """A head on it."""
    with heads.started("--state-dir", str(place)) as head:
        yield head


@manta.remote
class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def more(self) -> int:
        self.count += 1
        return self.count


@manta.remote
def double(number: int) -> int:
    return 2 * number


#: A driver that is not let in.
JOINS = """
import sys, manta
from manta.exceptions import StorageUnwritableError
try:
    manta.init(sys.argv[1])
except StorageUnwritableError as refused:
    print(f"{refused.path}: {refused.reason}")
"""


def new(name: str, within_s: float = 30.0) -> None:
    """Create a named actor, as soon as that is possible."""

    def made() -> bool:
        try:
            Counter.options(name=name, lifetime="detached", num_cpus=0).remote()
        except StorageUnwritableError:
            return False
        return True

    wait_until(made, timeout_s=within_s)


@pytest.mark.timeout(120)
def test_a_full_disk_stops_nothing_that_runs_and_loses_nothing_that_was_acknowledged(head, place, monkeypatch):
    """Tasks and actor calls go on; a new named actor is refused at once with path, reason and what is free; with room it is
    made. Control is not restarted for it, says how it is, and knows all of it after a SIGKILL.
    """
    tokens = dict(line.split()[:2] for line in (place / "credentials" / "tokens").read_text().splitlines())
    monkeypatch.setenv("MANTA_TOKEN", tokens["submitter"])
    monkeypatch.setenv("MANTA_CA_FILE", str(place / "credentials" / "ca.crt"))
    manta.init(head.gateway)
    try:
        pid = head.pid("manta.control")
        new("before")
        before = manta.get_actor("before")
        assert manta.get(before.more.remote()) == 1
        ballast = place / "ballast"
        fill(ballast)
        wait_until(lambda: "disk is full" in heads.cli("status").stdout, timeout_s=20)
        # From outside one sees it too: a command makes no job, which would have to be written. A driver does, and is refused.
        assert "disk is full" in heads.cli("status", "--address", head.gateway).stdout
        listed = heads.cli("list", "nodes", "-o", "json", "--address", head.gateway)
        assert [row["node_id"] for row in json.loads(listed.stdout)] == [head.node_id], listed.stderr
        for address in (head.gateway, "auto"):
            joined = subprocess.run(
                [sys.executable, "-c", JOINS, address], capture_output=True, text=True, timeout=40, check=False
            )
            assert (joined.returncode, joined.stdout) == (0, f"{place}/control.sqlite: its disk is full\n"), (
                joined.stderr
            )
        with pytest.raises(StorageUnwritableError, match="its disk is full") as refused:
            Counter.options(name="refused", lifetime="detached").remote()
        assert refused.value.path.startswith(str(place))
        assert "room" in str(refused.value)
        assert manta.get([double.remote(n) for n in range(50)]) == [2 * n for n in range(50)]
        assert manta.get(before.more.remote()) == 2
        assert manta.get(manta.get_actor("before").more.remote()) == 3
        with pytest.raises(ValueError, match="refused"):
            manta.get_actor("refused")
        assert head.pid("manta.control") == pid
        # A control that begins while there is no room serves what is there, too.
        os.kill(pid, signal.SIGKILL)
        assert manta.get(before.more.remote()) == 4
        assert manta.get(manta.get_actor("before").more.remote()) == 5
        with pytest.raises(StorageUnwritableError, match="its disk is full"):
            Counter.options(name="refused", lifetime="detached").remote()
        wait_until(lambda: "disk is full" in heads.cli("status").stdout, timeout_s=20)
        pid = head.pid("manta.control")
        ballast.unlink()
        new("after")
        assert manta.get(manta.get_actor("after").more.remote()) == 1
        assert "disk is full" not in heads.cli("status").stdout
        assert head.pid("manta.control") == pid
        os.kill(pid, signal.SIGKILL)
        assert manta.get(manta.get_actor("before").more.remote()) == 6
        assert manta.get(manta.get_actor("after").more.remote()) == 2
        for name in ("before", "after"):
            manta.kill(manta.get_actor(name))
    finally:
        manta.shutdown()
