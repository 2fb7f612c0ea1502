"""What the kernel says of a process, in words."""

import os

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
