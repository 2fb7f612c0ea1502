"""How many processes the kernel ended because memory was full, as control groups of both versions count them."""

from __future__ import annotations

import pytest

from manta.raylet.memory_kills import memory_kills

FILES = {
    1: ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    2: ("memory.events", "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n"),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("path", ["/", "/kubepods/pod1/raylet"])
def test_the_nearest_group_that_counts_is_read(tmp_path, version, path):
    """In a container the path may be the host's: then the root is our own group."""
    name, text = FILES[version]
    file = tmp_path / "cgroup" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(f"5:memory:{path}\n" if version == 1 else f"0::{path}\n")
    assert memory_kills(str(tmp_path), str(tmp_path / "cgroup")) == 2


def test_where_nobody_counts_there_were_none(tmp_path):
    """An old kernel, or no control groups at all."""
    assert memory_kills(str(tmp_path), str(tmp_path)) == 0
