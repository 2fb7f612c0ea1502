"""CPUs and memory of a node: file trees as containers, pods and units show them."""

from __future__ import annotations

import os

import pytest

from manta.core.capacity import Capacity, capacity

GIB = 1 << 30
NO_LIMIT_V1 = "9223372036854771712"


def machine(tmp_path, cgroup, files, *, mem_kib=16 << 20):
    """Mounts as a process sees them: its `cgroup` file, and the files below /sys/fs/cgroup."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal:       {mem_kib} kB\nMemFree:         1024 kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, content in files.items():
        path = tmp_path / "cg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return str(tmp_path / "proc"), str(tmp_path / "cg")


#: Name: (the process's cgroup file, what is mounted, CPUs, memory) on a machine of 8 CPUs and 16 GiB.
TREES = {
    "bare machine, version 2": ("0::/user.slice/session-1.scope\n", {"cgroup.procs": ""}, 8, 16 * GIB),
    "nothing is mounted": ("", {}, 8, 16 * GIB),
    "docker, version 2, own namespace": (
        "0::/\n",
        {"cpu.max": "250000 100000", "memory.max": str(4 * GIB)},
        2, 4 * GIB,
    ),
    "docker, version 2, no limits": ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, 8, 16 * GIB),
    "a path of the host of which only the end is mounted": (
        "0::/system.slice/docker-4f2a.scope\n",
        {"cpu.max": "400000 100000", "memory.max": str(2 * GIB)},
        4, 2 * GIB,
    ),
    "kubernetes, version 2, nested: the pod's limit is tighter than the container's": (
        "0::/kubepods.slice/pod1/c1\n",
        {
            "kubepods.slice/memory.max": str(12 * GIB),
            "kubepods.slice/pod1/cpu.max": "300000 100000",
            "kubepods.slice/pod1/memory.max": str(3 * GIB),
            "kubepods.slice/pod1/c1/cpu.max": "600000 100000",
            "kubepods.slice/pod1/c1/memory.max": str(6 * GIB),
        },
        3, 3 * GIB,
    ),
    "kubernetes, version 1": (
        "11:memory:/kubepods/pod1/c1\n4:cpu,cpuacct:/kubepods/pod1/c1\n1:name=systemd:/kubepods/pod1/c1\n0::/\n",
        {
            "memory/memory.limit_in_bytes": NO_LIMIT_V1,
            "memory/kubepods/pod1/memory.limit_in_bytes": str(5 * GIB),
            "memory/kubepods/pod1/c1/memory.limit_in_bytes": str(8 * GIB),
            "cpu/kubepods/pod1/cpu.cfs_quota_us": "-1",
            "cpu/kubepods/pod1/cpu.cfs_period_us": "100000",
            "cpu/kubepods/pod1/c1/cpu.cfs_quota_us": "150000",
            "cpu/kubepods/pod1/c1/cpu.cfs_period_us": "50000",
        },
        3, 5 * GIB,
    ),
    "version 1, controllers mounted together without links": (
        "4:cpu,cpuacct:/docker/x\n",
        {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        2, 16 * GIB,
    ),
    "version 1, no limits": (
        "9:memory:/\n3:cpu:/\n",
        {"memory/memory.limit_in_bytes": NO_LIMIT_V1, "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        8, 16 * GIB,
    ),
    "a mix: memory of version 1, CPUs of version 2": (
        "9:memory:/job\n0::/job\n",
        {"memory/job/memory.limit_in_bytes": str(7 * GIB), "job/cpu.max": "500000 100000"},
        5, 7 * GIB,
    ),
    "half a CPU is one: else nothing could run": ("0::/\n", {"cpu.max": "50000 100000"}, 1, 16 * GIB),
    "more than the machine has": ("0::/\n", {"cpu.max": "9900000 100000", "memory.max": str(99 * GIB)}, 8, 16 * GIB),
    "garbage": ("0::/\nnonsense\n::::\n", {"cpu.max": "what", "memory.max": "-5"}, 8, 16 * GIB),
    "a path that climbs": ("0::/../../other\n", {"cpu.max": "200000 100000"}, 2, 16 * GIB),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_the_tightest_limit_counts(tmp_path, name):
    cgroup, files, cpus, memory = TREES[name]
    proc, cgroups = machine(tmp_path, cgroup, files)
    assert capacity(proc, cgroups, usable=8) == Capacity(cpus, memory)


def test_a_process_that_may_use_few_cpus_of_a_large_machine_has_few(tmp_path):
    """As `taskset` and cpusets do it."""
    proc, cgroups = machine(tmp_path, "0::/\n", {"cpu.max": "max 100000"})
    assert capacity(proc, cgroups, usable=3).cpus == 3


def test_this_machine_has_something():
    found = capacity()
    assert 1 <= found.cpus <= len(os.sched_getaffinity(0))
    assert found.memory_bytes > 1 << 26
    assert found.store_bytes % (1 << 20) == 0
    assert found.store_bytes + found.tasks_bytes <= found.memory_bytes
