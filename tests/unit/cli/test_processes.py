"""What the kernel says of a process, in words."""

import os

import pytest

from manta.cli import processes
from manta.cli.processes import Glimpse, alive, glimpse


def seen(state, *, waits_in="", threads=1):
    return Glimpse(7, state, waits_in, threads, 0.0, "python")


def test_this_process_is_seen():
    now = glimpse(os.getpid())
    assert now.state in ("R", "S")
    assert now.threads >= 1
    assert now.command
    assert alive(os.getpid())


def test_a_process_that_is_not_there_has_ended():
    nobody = glimpse(2**22 + 1)
    assert "it has ended" == nobody.told()
    assert not alive(nobody.pid)


def test_each_state_comes_with_what_can_be_done():
    assert "stopped by a signal, 0 % of a CPU, 2 threads; `kill -CONT 7` lets it go on" == seen("T", threads=2).told(
        0.0
    )
    assert "running, 97 % of a CPU, 1 thread; it computes in C code that holds the interpreter's lock" == seen(
        "R"
    ).told(0.97)
    assert (
        "sleeping in futex_wait, 0 % of a CPU, 1 thread; C code that holds the interpreter's lock waits for something"
        == seen("S", waits_in="futex_wait").told(0.0)
    )
    assert "waiting in the kernel, uninterruptibly in nfs_wait, 1 thread" == seen("D", waits_in="nfs_wait").told()


@pytest.mark.parametrize("state", ["Z", "X"])
def test_one_that_its_parent_collects_has_ended(state: str, monkeypatch: pytest.MonkeyPatch):
    """A zombie is, for a moment, "dead" before its number is free: whoever looks just then must not take it for alive."""
    monkeypatch.setattr(processes, "glimpse", lambda _pid: seen(state))
    assert not processes.alive(7)
