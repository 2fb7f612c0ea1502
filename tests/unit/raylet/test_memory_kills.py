"""Ends for want of memory are counted, whoever ended the process."""

from __future__ import annotations

import pytest

from manta.raylet.memory_kills import MemoryKills, kernels_count


def test_kills_of_ours_and_of_the_kernel_are_counted_since_the_beginning():
    """What the control group counted before is another raylet's; the time is that of the last one."""
    kernel, now = [7], [100.0]
    kills = MemoryKills(kernels=lambda: kernel[0], clock=lambda: now[0])
    assert {"oom_kills": 0, "oom_unix_ms": 0} == kills.gauges()
    kills.buried(True)
    now[0] = 200.0
    assert {"oom_kills": 1, "oom_unix_ms": 100_000} == kills.gauges()
    kernel[0] = 9
    assert {"oom_kills": 3, "oom_unix_ms": 200_000} == kills.gauges()
    now[0] = 300.0
    assert {"oom_kills": 3, "oom_unix_ms": 200_000} == kills.gauges()


@pytest.mark.parametrize(
    ("line", "folder", "file"),
    [("4:memory:/pod", "memory/pod", "memory.oom_control"), ("0::/pod", "pod", "memory.events")],
    ids=["v1", "v2"],
)
def test_the_count_is_that_of_the_own_control_group(tmp_path, line, folder, file):
    """Both versions have a line for it, in different files."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"{line}\n")
    own = tmp_path / "cgroup" / folder
    own.mkdir(parents=True)
    (own / file).write_text("under_oom 0\noom_kill 5\n")
    assert kernels_count(f"{tmp_path}/proc", f"{tmp_path}/cgroup") == 5
    assert kernels_count(f"{tmp_path}/none", f"{tmp_path}/cgroup") == 0
