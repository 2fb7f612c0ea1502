"""A driver outside needs nothing that only Linux has, and listens nowhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.shared_cluster

DRIVER = """
import builtins, os, select, signal, socket, sys

def gone(*arguments, **keywords):
    raise AssertionError("only Linux has this")

for module, names in {
    os: ["memfd_create", "eventfd", "eventfd_read", "eventfd_write", "pidfd_open", "sched_getaffinity", "posix_fallocate"],
    select: ["epoll", "EPOLLIN", "EPOLLOUT", "EPOLLHUP", "EPOLLERR"],
    socket: ["AF_UNIX", "send_fds", "recv_fds", "SCM_RIGHTS", "SO_PEERCRED"],
    signal: ["pidfd_send_signal"],
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
true_open = builtins.open
def no_proc(file, *arguments, **keywords):
    assert not str(file).startswith("/proc"), f"opens {file}"
    return true_open(file, *arguments, **keywords)
builtins.open = no_proc
socket.socket.listen = socket.socket.bind = gone
sys.platform = "darwin"
sys.modules["resource"] = None

import manta
manta.init()

@manta.remote
def double(x):
    return 2 * x

@manta.remote
class Counter:
    def __init__(self):
        self.count = 0
    def up(self):
        self.count += 1
        return self.count

@manta.remote
def items():
    yield from range(3)

counter = Counter.options(name="c").remote()
assert manta.get([double.remote(1), counter.up.remote(), manta.get_actor("c").up.remote()]) == [2, 1, 2]
big = bytes(2_000_000)
assert manta.get(manta.put(big)) == big
assert [manta.get(ref) for ref in items.remote()] == [0, 1, 2]
assert double.remote(3).future().result(10) == 6
manta.kill(counter)
manta.shutdown()
assert "manta.client.poller" in sys.modules and "manta.shm.client" not in sys.modules and "grpc" not in sys.modules
print("done")
"""


def test_a_driver_runs_without_what_only_linux_has(door, tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    ended = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, **door.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout.splitlines()[-1:] == ["done"], ended.stderr
