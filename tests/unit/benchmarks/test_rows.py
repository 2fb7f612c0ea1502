"""What the benchmark asks for, and what it refuses to be asked."""

from pathlib import Path

import pytest

from benchmarks.rows import Goal, RowsError, load, select
from benchmarks.systems import make

#: The goals a second time. Making one easier takes an edit here, in a diff that shows it.
GOALS = {
    "import": "<= 0.06",
    "init": "<= 0.6",
    "first_task": "<= 0.03",
    "shutdown": "<= 0.3",
    "idle_memory": "<= 150",
    "task_sync": ">= 10x ray and >= 1x pool",
    "task_pipelined": ">= 15x ray",
    "task_chain": ">= 10x ray",
    "wait_1k": ">= 10x ray",
    "actor_sync": ">= 5x ray",
    "actor_pipelined": ">= 10x ray",
    "actor_n_n": ">= 8x ray",
    "actor_n_n_ref": ">= 8x ray",
    "actor_churn": ">= 8x ray",
    "async_actor_sync": ">= 5x ray",
    "async_actor_pipelined": ">= 15x ray",
    "async_actor_args": ">= 15x ray",
    "put_small": ">= 20x ray",
    "get_small": ">= 10x ray",
    "put_1mb": ">= 5x ray",
    "task_1mb": ">= 5x ray",
    "put_large": ">= 9",
    "get_10k_refs": ">= 5x ray",
    "args_10k": "<= 1",
    "returns_3k": "<= 0.1",
    "drain_50k": "<= 3",
    "queue_1m": "<= 60",
    "queue_1m_bytes": "<= 1000",
    "queue_1m_pause": "<= 0.05",
    "far_task_sync": ">= 5x ray",
    "far_task_pipelined": ">= 10x ray",
    "far_actor_sync": ">= 5x ray",
    "far_actor_pipelined": ">= 10x ray",
    "group_churn": ">= 2x ray",
    "far_get_large": "<= 0.512",
    "node_join": "<= 0.5",
    "copy_plain": ">= 1.5",
    "copy_tls": ">= 0.5",
    "growth_tasks": "<= 2.5",
    "growth_refs": "<= 2.5",
    "growth_actors": "<= 2.5",
}


def test_goals_are_what_was_promised():
    """All of them, so that a row cannot quietly disappear either."""
    summary, rows = load()

    assert {row.name: " and ".join(map(str, row.goals)) for row in rows} == GOALS
    assert (summary.geometric_mean, summary.lowest) == (10.0, 2.0)
    assert {row.name for row in rows if row.decides} == {"task_sync", "task_pipelined", "actor_sync", "put_large"}


def test_every_row_has_a_workload_on_every_system_it_names():
    _, rows = load()
    for system in ("manta", "ray", "dask", "pool"):
        offered = set(make(system).workloads())
        wanted = {
            row.name
            for row in rows
            if (system == "manta" or system in row.peers)
            and row.from_row is None
            and row.group not in ("lifecycle", "idle")  # done by the runner, not by adapters
        }
        assert wanted <= offered, system


def test_manta_and_ray_run_the_same_lines():
    """The comparison is only fair, and drop-in only shown, if nothing but the module's name differs."""
    manta, ray = make("manta"), make("ray")

    assert type(manta) is type(ray)
    assert list(manta.workloads()) == list(ray.workloads())


def test_sizes_of_a_peer_win_over_the_rows_and_quick_wins_over_both():
    _, rows = load()
    (row,) = select(rows, ["growth_refs"])

    assert row.params_for("manta", quick=False)["sizes"][-1] == 200_000
    assert row.params_for("ray", quick=False)["sizes"][-1] == 8_000
    assert row.params_for("ray", quick=True)["sizes"][-1] == 4_000


def test_selecting_a_derived_row_brings_the_row_it_comes_from():
    _, rows = load()

    assert [row.name for row in select(rows, ["queue_1m_bytes"])] == ["queue_1m", "queue_1m_bytes"]
    assert [row.name for row in select(rows, ["task_*", "idle"])] == [
        "idle_memory",
        "task_sync",
        "task_pipelined",
        "task_chain",
        "task_1mb",
    ]


def test_a_pattern_that_selects_nothing_is_refused_with_the_names_there_are():
    _, rows = load()
    with pytest.raises(RowsError, match="no row has this name, group or kind; rows: import, init"):
        select(rows, ["tusk_sync"])


ROW = 'name = "a"\ntitle = "A"\ngroup = "g"\nunit = "s"\n'


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (ROW + 'kind = "speed"\nbetter = "lower"\ngoals = [{max = 1}]', "kind 'speed' is not one of throughput"),
        (ROW + 'kind = "timed"\nbetter = "less"\ngoals = [{max = 1}]', "better 'less' is neither higher nor lower"),
        (ROW + 'kind = "timed"\nbetter = "lower"\ngoals = []', "a row needs a goal"),
        (ROW + 'kind = "timed"\nbetter = "lower"\ngoals = [{min = 1, max = 2}]', "is not one of {peer, ratio}"),
        (ROW + 'kind = "timed"\nbetter = "lower"\ngoals = [{peer = "ray"}]', "is not one of {peer, ratio}"),
        (ROW + 'kind = "timed"\nbetter = "lower"\ngoals = [{peer = "ray", ratio = 2}]', "not among the row's peers"),
        (
            ROW + 'kind = "timed"\nbetter = "lower"\npeers = ["spark"]\ngoals = [{max = 1}]',
            "peer 'spark' is not one of",
        ),
        (
            ROW + 'kind = "timed"\nbetter = "lower"\ngoals = [{max = 1}]\ntimeout = 3',
            "unexpected keyword argument 'timeout'",
        ),
        (ROW + 'kind = "timed"\nbetter = "lower"\ngoals = [{max = 1}]\nfrom_row = "b"', "from_row names 'b'"),
    ],
)
def test_nonsense_in_the_file_is_refused_by_name(tmp_path: Path, entry: str, problem: str):
    file = tmp_path / "rows.toml"
    file.write_text(
        '[summary]\npeer = "ray"\nkind = "throughput"\ngeometric_mean = 10.0\nlowest = 2.0\n[[row]]\n' + entry
    )
    with pytest.raises(RowsError) as caught:
        load(file)
    assert str(caught.value).startswith("rows.toml, a: ")
    assert problem in str(caught.value)


def test_goals_read_as_sentences():
    assert [str(Goal(peer="ray", ratio=10.0)), str(Goal(min=9.0)), str(Goal(max=0.06))] == [
        ">= 10x ray",
        ">= 9",
        "<= 0.06",
    ]
