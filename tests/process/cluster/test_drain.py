"""Nodes are taken out of service: what runs there ends, nothing new comes, then they leave with exit code 0."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

import manta
from manta.cli import main
from manta.client import current
from manta.core.errors import MantaError
from manta.rpc.v1 import control_pb2 as ctl
from manta.util.placement_group import placement_group
from manta.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from tests.process.cluster.machines import START_S, alive, joined, machines
from tests.process.cluster.support import MIB
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.cluster.machines import Machines

CLUSTER = None


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path) as cluster:
        yield cluster


@manta.remote(max_retries=0)
def where() -> str:
    return manta.get_runtime_context().get_node_id()


@manta.remote(max_retries=0)
def until(path: str) -> str:
    wait_until(lambda: os.path.exists(path), what="the word to end", timeout_s=20)
    return manta.get_runtime_context().get_node_id()


def is_drained(node) -> bool:
    """Or was."""
    reply = current.require().control("ListNodes", ctl.ListNodesRequest(), ctl.ListNodesResponse)
    return any(each.node_id.hex() == node.node_id and each.HasField("drain") for each in reply.nodes)


def drain(at, node, *more: str) -> int:
    return main(["drain", node.node_id, "--address", f"unix:{at.socket}", *more])


def test_a_driver_cannot_drain_a_node(nodes):
    """It is an administrator's to do, by a tool on one of the machines: drivers may be anybody's, from outside too."""
    first, second = nodes.add("first", cpus=1), nodes.add("second", cpus=1)
    with joined(first):
        alive(2)
        request = ctl.DrainNodeRequest(request_id=os.urandom(16), node_id=bytes.fromhex(second.node_id), grace_ms=1)
        with pytest.raises(MantaError, match="'DrainNode' is no call that a raylet relays"):
            current.require().control("DrainNode", request, ctl.DrainNodeResponse)
        alive(2)


def test_a_running_task_without_retries_ends_and_then_the_node_leaves(nodes, tmp_path):
    first, second = nodes.add("first", cpus=1), nodes.add("second", "--num-gpus", "1", cpus=1)
    with joined(first):
        alive(2)
        word = str(tmp_path / "word")
        running = until.options(num_gpus=1).remote(word)
        wait_until(lambda: second.status()["scheduler"]["leases"] == 1, what="the task to run")
        assert drain(first, second, "--no-wait") == 0
        assert {manta.get(where.remote()) for _ in range(5)} == {first.node_id}
        assert second.process.poll() is None
        open(word, "w").close()
        assert manta.get(running) == second.node_id
        assert second.process.wait(START_S) == 0
        assert drain(first, second) == 0


def test_sigterm_drains_and_a_second_signal_ends_at_once(nodes, tmp_path):
    first, second, third = nodes.add("first"), nodes.add("second"), nodes.add("third", "--num-gpus", "1")
    with joined(first):
        alive(3)
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(START_S) == 0
        running = until.options(num_gpus=1).remote(str(tmp_path / "never"))
        wait_until(lambda: third.status()["scheduler"]["leases"] == 1, what="the task to run")
        third.process.send_signal(signal.SIGTERM)
        # Of two that come before it has heard of the first it would hear one.
        wait_until(lambda: is_drained(third), what="the first signal to be heard")
        assert drain(first, third, "--no-wait", "--grace", "1h") == 0
        assert third.process.poll() is None
        third.process.send_signal(signal.SIGTERM)
        assert third.process.wait(START_S) == 0
        with pytest.raises(manta.exceptions.WorkerCrashedError):
            manta.get(running)


def test_when_the_grace_is_over_the_node_is_given_up(nodes, tmp_path, capsys):
    first, second = nodes.add("first"), nodes.add("second", "--num-gpus", "1")
    with joined(first):
        alive(2)
        running = until.options(num_gpus=1).remote(str(tmp_path / "never"))
        wait_until(lambda: second.status()["scheduler"]["leases"] == 1, what="the task to run")
        assert drain(first, second, "--grace", "300ms") == 1
        said = capsys.readouterr().out
        assert "it still holds 1 task" in said
        assert "the grace of 0.3 s ran out" in said
        assert second.process.wait(START_S) == 0
        with pytest.raises(manta.exceptions.WorkerCrashedError):
            manta.get(running)


def test_an_actor_that_may_restart_moves_and_uses_up_no_restart(nodes):
    @manta.remote(max_restarts=1, max_task_retries=-1, num_cpus=0, resources={"spot": 1})
    class Mover:
        def where(self) -> str:
            return manta.get_runtime_context().get_node_id()

    first, second = nodes.add("first"), nodes.add("second", resources={"spot": 1})
    with joined(first):
        alive(2)
        actor = Mover.remote()
        assert manta.get(actor.where.remote()) == second.node_id
        for name in ("third", "fourth"):
            before, second = second, nodes.add(name, resources={"spot": 1})
            assert drain(first, before) == 0
            assert before.process.wait(START_S) == 0
            assert manta.get(actor.where.remote(), timeout=20) == second.node_id


@manta.remote(num_cpus=0, resources={"spot": 1}, max_retries=0)
def large(seed: int, mib: int = 1) -> bytes:
    return bytes([seed]) * (mib * MIB)


@manta.remote(num_cpus=0, max_retries=0)
def first_bytes(*values: bytes) -> bytes:
    return bytes(value[0] for value in values)


@manta.remote(num_cpus=0, resources={"keep": 1})
class Borrower:
    def hold(self, refs):
        self.refs = refs

    def read(self):
        return bytes(value[0] for value in manta.get(self.refs))


def test_objects_move_and_whoever_has_a_ref_finds_them(nodes):
    """The driver that owns them, a borrower that has read them before, and tasks; the node leaves although they are wanted."""
    first = nodes.add("first", cpus=1, resources={"keep": 1})
    second = nodes.add("second", cpus=1, resources={"spot": 1})
    nodes.add("third", cpus=1)
    with joined(first):
        alive(3)
        refs = [large.remote(seed) for seed in range(1, 9)]
        manta.wait(refs, num_returns=8, fetch_local=False)
        borrower = Borrower.remote()
        manta.get(borrower.hold.remote(refs))
        assert manta.get(borrower.read.remote(), timeout=20) == bytes(range(1, 9))
        assert second.store()["objects"] == 8
        assert drain(first, second) == 0
        assert second.process.wait(START_S) == 0
        assert manta.get(borrower.read.remote(), timeout=20) == bytes(range(1, 9))
        assert manta.get(first_bytes.remote(*refs), timeout=20) == bytes(range(1, 9))
        assert [value[0] for value in manta.get(refs, timeout=20)] == list(range(1, 9))
        del refs
        manta.kill(borrower)
        wait_until(lambda: first.store()["objects"] == 0, what="all to be freed")


def test_objects_that_have_nowhere_to_go_hold_the_node_and_the_state_says_why(nodes, capsys):
    """Until they are freed."""
    first, second = nodes.add("first", cpus=1), nodes.add("second", cpus=1, resources={"spot": 1})
    with joined(first):
        alive(2)
        refs = [large.remote(seed, 20) for seed in (1, 2, 3)]
        manta.wait(refs, num_returns=3, fetch_local=False)
        kept = manta.put(b"x" * (50 * MIB))
        assert drain(first, second, "--no-wait") == 0

        def stuck() -> bool:
            capsys.readouterr()
            assert drain(first, second, "--no-wait") == 0
            said = capsys.readouterr().out
            return "have nowhere to go" in said and "bytes are needed" in said

        wait_until(stuck, what="the drain to say what has nowhere to go")
        assert main(["status", "--address", f"unix:{first.socket}"]) == 0
        assert "3 objects, 60.0 MiB, have nowhere to go" in capsys.readouterr().out
        assert main(["status", "--address", f"unix:{first.socket}", "-o", "json"]) == 0
        (draining,) = json.loads(capsys.readouterr().out)["demand"]["draining"]
        assert (draining["node_id"], draining["holds"]["stuck_objects"]) == (second.node_id, 3)
        assert second.process.poll() is None
        del kept
        assert first_and_rest(refs) == [1, 2, 3]
        refs.clear()
        assert second.process.wait(START_S) == 0


def first_and_rest(refs) -> list[int]:
    """The first byte of each, one after the other: together they would not fit."""
    return [manta.get(ref, timeout=20)[0] for ref in refs]


def test_a_placement_group_leaves_a_drained_node_at_once_and_what_runs_there_ends_well(nodes, tmp_path):
    """New tasks run in the new bundle while an old one goes on in the old."""
    first, second = nodes.add("first", cpus=0), nodes.add("second", cpus=1)
    with joined(first):
        alive(2)
        group = placement_group([{"CPU": 1}])
        assert group.wait(20)
        inside = PlacementGroupSchedulingStrategy(group)
        running = until.options(num_cpus=1, scheduling_strategy=inside).remote(str(tmp_path / "word"))
        wait_until(lambda: second.status()["scheduler"]["leases"] == 1, what="the task to run")
        third = nodes.add("third", cpus=1)
        assert drain(first, second, "--no-wait") == 0
        again = where.options(num_cpus=1, scheduling_strategy=inside).remote()
        assert manta.get(again, timeout=20) == third.node_id
        (tmp_path / "word").touch()
        assert manta.get(running, timeout=20) == second.node_id
        assert second.process.wait(START_S) == 0
