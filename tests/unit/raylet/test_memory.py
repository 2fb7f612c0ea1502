"""When memory runs out: who goes, and what is said."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from manta.raylet.memory import Candidate, MemoryReader, MemoryWatch, Usage, victims

MIB = 1 << 20


def candidate(name: str, *, mib: int = 100, idle: bool = False, actor: bool = False, since: float = 0.0) -> Candidate:
    return Candidate(name.encode(), len(name), mib * MIB, idle, actor, since, name)


def names(chosen: list[Candidate]) -> list[str]:
    return [one.name for one in chosen]


def test_nobody_goes_while_memory_is_below_the_line():
    assert [] == victims(Usage(949, 1000), 0.95, [candidate("a")])


def test_idle_workers_go_first_then_the_newest_task_then_the_newest_actor():
    everybody = [
        candidate("old actor", actor=True, since=1),
        candidate("new actor", actor=True, since=9),
        candidate("old task", since=2),
        candidate("new task", since=8),
        candidate("small idle", mib=10, idle=True),
        candidate("large idle", mib=50, idle=True),
    ]

    chosen = victims(Usage(2000 * MIB, 1000 * MIB), 0.95, everybody)

    assert ["large idle", "small idle", "new task", "old task", "new actor", "old actor"] == names(chosen)


def test_as_many_go_as_it_takes():
    tasks = [candidate(f"t{n}", mib=100, since=n) for n in range(5)]

    assert ["t4", "t3"] == names(victims(Usage(1100 * MIB, 1000 * MIB), 0.95, tasks))


@given(
    used=st.integers(0, 3000),
    sizes=st.lists(st.tuples(st.integers(0, 500), st.booleans(), st.booleans(), st.floats(0, 100)), max_size=8),
)
def test_the_chosen_are_enough_or_everybody_and_never_one_too_many(used, sizes):
    everybody = [
        candidate(f"w{n}", mib=mib, idle=idle, actor=actor, since=since)
        for n, (mib, idle, actor, since) in enumerate(sizes)
    ]

    chosen = victims(Usage(used * MIB, 1000 * MIB), 0.9, everybody)

    excess = (used - 900) * MIB
    freed = sum(one.private_bytes for one in chosen)
    assert len(chosen) == len(everybody) or freed >= excess
    if chosen:
        assert freed - chosen[-1].private_bytes < excess
    else:
        assert excess <= 0 or not everybody


class FakeReader(MemoryReader):
    def __init__(self, used: int) -> None:
        super().__init__()
        self.used = used

    def usage(self) -> Usage | None:
        return Usage(self.used * MIB, 1000 * MIB, "its control group")

    def largest(self, count: int = 10) -> list[tuple[int, int, str]]:
        return [(42, 600 * MIB, "python hog.py")]


def test_the_message_names_the_line_the_worker_and_the_largest():
    killed: dict[bytes, str] = {}
    watch = MemoryWatch(
        threshold=0.95,
        period_s=1,
        node_ip="10.0.0.1",
        candidates=lambda: [candidate("train", mib=700)],
        kill=killed.__setitem__,
        reader=FakeReader(990),
    )

    watch.look()

    text = killed[b"train"]
    for part in ("10.0.0.1", "99.0%", "95.0%", "its control group", "task 'train'", "pid=42 0.59 GiB python hog.py"):
        assert part in text


def test_the_end_of_the_chosen_is_awaited_before_more_are_chosen():
    reader = FakeReader(1100)
    alive = [candidate("a", since=1), candidate("b", since=2), candidate("c", since=3)]
    watch = MemoryWatch(
        threshold=0.95, period_s=1, node_ip="", candidates=lambda: alive, kill=lambda _id, _text: None, reader=reader
    )

    assert ["c", "b"] == names(watch.look())
    assert [] == watch.look(), "they are not dead yet"
    del alive[1:]
    assert ["a"] == names(watch.look()), "it was not enough"


def proc(path: Path, *, cgroup: str = "", available_kib: int = 500_000) -> Path:
    (path / "self").mkdir(parents=True)
    (path / "meminfo").write_text(f"MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: {available_kib} kB\n")
    (path / "self" / "cgroup").write_text(cgroup)
    return path


def test_the_node_has_what_is_not_available(tmp_path):
    reader = MemoryReader(proc(tmp_path / "proc"), tmp_path / "cg")

    assert Usage(500_000 * 1024, 1_000_000 * 1024) == reader.usage()


def test_a_control_group_of_version_2_counts_without_the_cache_it_would_drop(tmp_path):
    group = tmp_path / "cg" / "pod" / "c"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("900\n")
    (group / "memory.max").write_text("1000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 200\n")

    usage = MemoryReader(proc(tmp_path / "proc", cgroup="0::/pod/c\n"), tmp_path / "cg").usage()

    assert Usage(700, 1000, "its control group") == usage


def test_a_control_group_of_version_1_counts_and_no_limit_is_none(tmp_path):
    group = tmp_path / "cg" / "memory" / "pod"
    group.mkdir(parents=True)
    (group / "memory.usage_in_bytes").write_text("950")
    (group / "memory.limit_in_bytes").write_text("1000")
    (group.parent / "memory.usage_in_bytes").write_text("5000")
    (group.parent / "memory.limit_in_bytes").write_text(str((1 << 63) - 4096))
    reader = MemoryReader(proc(tmp_path / "proc", cgroup="4:memory:/pod\n0::/\n"), tmp_path / "cg")

    assert Usage(950, 1000, "its control group") == reader.usage()


def test_a_machine_that_says_nothing_is_left_alone(tmp_path):
    assert MemoryReader(tmp_path / "none", tmp_path / "none").usage() is None
