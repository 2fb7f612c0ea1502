"""Requests nobody can meet: said within a second, with what the cluster has."""

# mypy: ignore-errors
# The calls are wrong on purpose; a type checker finds most of them.

from __future__ import annotations

import pytest

from tests.process.semantics.support import run_driver

pytestmark = pytest.mark.shared_cluster

CLUSTER = None


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("num_cpus=1000", ["1000", "CPU"]),
        ("num_gpus=1", ["GPU"]),
        ('resources={"unobtainium": 1}', ["unobtainium"]),
        ("memory=10**15", ["memory"]),
    ],
)
@pytest.mark.parametrize("kind", ["task", "actor"])
def test_an_infeasible_request_is_told_to_the_driver(kind: str, options: str, names: list[str], tmp_path):
    thing = "def f(): ..." if kind == "task" else "class f: ..."
    ended = run_driver(
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
    )
    said = ended.stdout + ended.stderr
    assert "still waiting" in ended.stdout, ended.stderr
    for name in [*names, "2"]:
        assert name in said
