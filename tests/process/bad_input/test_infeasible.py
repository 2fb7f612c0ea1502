"""Requests nobody can meet: said within a second, with what the cluster has."""

# mypy: ignore-errors
# The calls are wrong on purpose; a type checker finds most of them.

from __future__ import annotations

import pytest

from tests.process.semantics.support import run_driver, says

pytestmark = pytest.mark.shared_cluster

CLUSTER = None


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("num_cpus=1000", ["1000", "CPU"]),
        ("num_gpus=1", ["GPU"]),
        ('resources={"unobtainium": 1}', ["unobtainium"]),
        ("memory=10**14", ["memory"]),
    ],
)
@pytest.mark.parametrize("kind", ["task", "actor"])
def test_an_infeasible_request_is_told_to_the_driver(kind: str, options: str, names: list[str], tmp_path):
    thing = "def f(): ..." if kind == "task" else "class f: ..."
    ended = says(
        f"""
        import manta
        manta.init(num_cpus=2)

        @manta.remote({options})
        {thing}

        held = f.remote()
        other = manta.remote(lambda: 1)
        assert manta.get(other.remote()) == 1
        try:
            manta.get(manta.remote(num_cpus=1000)(lambda: 1).remote(), timeout=1)
        except TimeoutError:
            print("still waiting")
        """,
        tmp_path,
        *names,
        "2",
    )
    assert "still waiting" in ended.stdout, ended.stderr


@pytest.mark.parametrize(
    "variable", ["MANTA_enable_infeasible_task_early_exit", "RAY_enable_infeasible_task_early_exit"]
)
def test_an_infeasible_request_fails_where_the_environment_says_so(variable: str, tmp_path):
    """Tasks and actors alike, what was asked for in the error; what fits goes on."""
    ended = run_driver(
        """
        import manta
        manta.init(num_cpus=2, log_to_driver=False)

        @manta.remote(num_cpus=1000)
        def f(): ...

        @manta.remote(resources={"unobtainium": 1})
        class A:
            def ping(self): ...

        actor = A.remote()
        for ref in (f.remote(), f.remote(), actor.ping.remote(), actor.ping.remote()):
            try:
                manta.get(ref, timeout=20)
            except Exception as error:
                print(type(error).__name__, "1000" in str(error), "unobtainium" in str(error))
        print(manta.get(f.options(num_cpus=1).remote(), timeout=20))
        """,
        tmp_path,
        **{variable: "1"},
    )
    task, actor = "TaskUnschedulableError True False", "ActorUnschedulableError False True"
    assert ended.lines == [task, task, actor, actor, "None"], ended.stderr


def test_an_infeasible_request_of_a_worker_is_told_to_the_driver(tmp_path):
    ended = says(
        """
        import manta
        manta.init(num_cpus=2)

        @manta.remote
        def outer():
            try:
                manta.get(manta.remote(num_gpus=3)(lambda: 1).remote(), timeout=2)
            except TimeoutError:
                return "still waiting"

        print(manta.get(outer.remote(), timeout=30))
        """,
        tmp_path,
        "GPU: 3",
    )
    assert "still waiting" in ended.stdout, ended.stderr
