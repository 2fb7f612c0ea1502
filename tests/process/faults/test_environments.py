"""Environments that keep workers from starting: their tasks and actors fail and say why, nobody else notices."""

from __future__ import annotations

import os

import pytest

import manta
from manta.exceptions import RuntimeEnvSetupError
from tests.process.cluster.support import running_cluster
from tests.process.semantics.support import Gate, Ledger
from tests.support.pausing import pause
from tests.support.waiting import wait_until

CLUSTER = None


@manta.remote
def variable(name: str) -> str | None:
    return os.environ.get(name)


@manta.remote
class Actor:
    def variable(self, name: str) -> str | None:
        return os.environ.get(name)


def broken(tmp_path, what: str) -> tuple[dict[str, str], str]:
    """Variables with which no worker starts, and what the error says of it."""
    match what:
        case "import":
            (tmp_path / "socket.py").write_text("raise RuntimeError('a module of the same name')")
            return {"PYTHONPATH": str(tmp_path)}, "RuntimeError: a module of the same name"
        case "interpreter":
            return {"PYTHONHOME": str(tmp_path)}, "encodings"
        case "allocator":
            return {"PYTHONMALLOC": "nonsense"}, "PYTHONMALLOC"
        case _:
            # Each is small enough, together they are not.
            return {f"LARGE_{number}": "x" * 100_000 for number in range(40)}, "Argument list too long"


@pytest.mark.parametrize("what", ["import", "interpreter", "allocator", "size"])
def test_its_tasks_and_actors_fail_with_the_reason(tmp_path, what: str):
    variables, reason = broken(tmp_path, what)
    environment = {"env_vars": variables}
    with running_cluster(num_cpus=2) as cluster:
        refs = [variable.options(runtime_env=environment).remote("A") for _ in range(20)]
        actor = Actor.options(runtime_env=environment, max_restarts=3).remote()
        for ref in [*refs, actor.variable.remote("A")]:
            with pytest.raises(RuntimeEnvSetupError) as failed:
                manta.get(ref, timeout=30)
            assert reason in str(failed.value)
        # Others are well, and what failed was tried a few times, not once for each of them.
        assert manta.get(variable.options(runtime_env={"env_vars": {"A": "1"}}).remote("A"), timeout=30) == "1"
        assert manta.get(variable.remote("A"), timeout=30) is None
        wait_until(lambda: not cluster.unrest(), what="nothing is taken or wanted")
        assert cluster.status()["scheduler"]["died"] < 20


def test_a_job_whose_own_environment_is_broken_fails_its_tasks(tmp_path):
    variables, reason = broken(tmp_path, "import")
    with (
        running_cluster(num_cpus=2, runtime_env={"env_vars": variables}),
        pytest.raises(RuntimeEnvSetupError, match=reason),
    ):
        manta.get(variable.remote("A"), timeout=30)


def test_a_worker_that_neither_dies_nor_connects_fails_its_tasks_with_where_it_stood(tmp_path, monkeypatch):
    """`sitecustomize` runs before anything of ours, here for ever. Others are well, and nothing stays."""
    monkeypatch.setenv("MANTA_worker_register_timeout_seconds", "4")
    (tmp_path / "sitecustomize.py").write_text("import time\ndef stuck():\n    time.sleep(1e6)\nstuck()\n")
    environment = {"env_vars": {"PYTHONPATH": str(tmp_path)}}
    with running_cluster(num_cpus=2) as cluster:
        refs = [variable.options(runtime_env=environment).remote("A") for _ in range(4)]
        actor = Actor.options(runtime_env=environment, max_restarts=3).remote()
        assert manta.get(variable.remote("A"), timeout=30) is None
        for ref in [*refs, actor.variable.remote("A")]:
            with pytest.raises(RuntimeEnvSetupError) as failed:
                manta.get(ref, timeout=30)
            assert "not ready 4 s after it was asked for" in str(failed.value)
            assert 'sitecustomize.py", line 3 in stuck' in str(failed.value)
        assert manta.get(variable.remote("A"), timeout=30) is None
        wait_until(lambda: not cluster.unrest(), what="nothing is taken or wanted")


def test_a_factory_that_is_stuck_is_replaced_and_what_it_forked_runs_on(tmp_path, monkeypatch):
    """SIGSTOP: the worker that it forked keeps its actor, and a new factory forks the next."""
    monkeypatch.setenv("MANTA_worker_register_timeout_seconds", "6")
    environment = {"env_vars": {"A": "1"}}
    gate, ledger = Gate(tmp_path / "gate"), Ledger(tmp_path / "ledger")

    @manta.remote
    class Child:
        def parent(self) -> int:
            return os.getppid()

    @manta.remote(num_cpus=0.1, runtime_env=environment)
    def parent() -> int:
        ledger.write("begun")
        gate.wait()
        return os.getppid()

    with running_cluster(num_cpus=2):
        actor = Child.options(runtime_env=environment).remote()
        factory = manta.get(actor.parent.remote(), timeout=30)
        pause(factory)
        # More at once than are kept ready.
        refs = [parent.remote() for _ in range(5)]
        wait_until(lambda: len(ledger.read()) == 5, timeout_s=30, what="all run at once")
        gate.open()
        assert set(manta.get(refs)) - {factory}
        assert manta.get(actor.parent.remote(), timeout=30) == factory
