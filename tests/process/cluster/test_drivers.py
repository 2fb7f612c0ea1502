"""Drivers that come, go and are killed: what is left of them is nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import manta
from tests.process.cluster.support import Node, at_rest, running_cluster
from tests.process.semantics.support import is_running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.leaks import Sandbox

CLUSTER = None

BUSY = """
import os, signal, subprocess, sys, time
from pathlib import Path
import manta

here = Path(sys.argv[1])
context = manta.init(address="local", num_cpus=2, log_to_driver=False)

@manta.remote
def task():
    subprocess.Popen(["sleep", "600"])
    (here / "task").touch()
    time.sleep(600)

@manta.remote
class Actor:
    def ready(self):
        return True

kept = manta.put(bytes(10_000_000))
actor = Actor.options(name="someone", lifetime="detached").remote()
manta.get(actor.ready.remote())
ref = task.remote()
while not (here / "task").exists():
    time.sleep(0.01)
(here / "session").write_text(context.address_info["session_dir"])
print("ready", flush=True)
"""


def start(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    # A file of its own: another driver may be reading the last one.
    script = folder / f"driver-{len(list(folder.glob('driver-*')))}.py"
    script.write_text(textwrap.dedent(code))
    return subprocess.Popen(
        [sys.executable, "-u", str(script), str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def nothing_is_left(sandbox: Sandbox, folder: Path) -> None:
    """No process, socket, memory or file of a session but its logs."""
    session = Path((folder / "session").read_text())
    wait_until(lambda: not sandbox.leaks(["processes"]), what="every process to end", timeout_s=20)
    left = [path for path in session.rglob("*") if "logs" not in path.relative_to(session).parts]
    assert left == [], "files of the session"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("manta.shutdown()", 0),
        ("raise ValueError('no')", 1),
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", 128 + signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os._exit(9)", 9),
        ("os.abort()", -signal.SIGABRT),
    ],
    ids=["normal", "shutdown", "exception", "sys.exit", "SIGTERM", "SIGKILL", "_exit", "abort"],
)
def test_however_a_driver_ends_nothing_is_left(end: str, status: int, tmp_path: Path, sandbox: Sandbox):
    driver = start(BUSY + end + "\n", tmp_path)
    stdout, stderr = driver.communicate(timeout=80)
    assert driver.returncode == status, stderr
    assert stdout == "ready\n"
    nothing_is_left(sandbox, tmp_path)


def test_a_driver_killed_while_it_starts_leaves_nothing(tmp_path: Path, sandbox: Sandbox):
    for delay_s in (0.02, 0.15, 0.3):
        driver = start("import time, manta; manta.init(num_cpus=1); time.sleep(600)\n", tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            driver.communicate(timeout=delay_s)
        driver.kill()
        driver.communicate()
        wait_until(lambda: not sandbox.leaks(["processes"]), what="every process to end", timeout_s=20)


JOIN = """
import os, signal, sys, time
from pathlib import Path
import manta

here = Path(sys.argv[1])
context = manta.init(address="auto", log_to_driver=False)

@manta.remote(num_cpus=1)
def task():
    (here / "task").write_text(str(os.getpid()))
    time.sleep(600)

@manta.remote(num_cpus=0)
class Actor:
    def pid(self):
        return os.getpid()

kept = [manta.put(bytes(5_000_000)) for _ in range(4)]
actor = Actor.remote()
(here / "actor").write_text(str(manta.get(actor.pid.remote())))
ref = task.remote()
while not (here / "task").exists() or not (here / "task").read_text():
    time.sleep(0.01)
"""


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)"], ids=["leaves", "SIGKILL"])
def test_what_a_second_driver_had_goes_with_it_and_the_first_goes_on(end: str, tmp_path: Path):
    with running_cluster(num_cpus=2) as cluster:

        @manta.remote
        class Mine:
            def pid(self):
                return os.getpid()

        mine = Mine.remote()
        own = manta.get(mine.pid.remote())
        kept = manta.put(bytes(3_000_000))
        before = cluster.store()
        second = start(JOIN + end + "\n", tmp_path)
        _, stderr = second.communicate(timeout=80)
        assert second.returncode == (-signal.SIGKILL if end else 0), stderr
        gone = [int((tmp_path / name).read_text()) for name in ("actor", "task")]
        wait_until(lambda: not any(map(is_running, gone)), what="its workers to end")
        wait_until(lambda: cluster.store()["sealed_bytes"] == before["sealed_bytes"], what="its objects to go")
        assert manta.get(mine.pid.remote()) == own
        assert len(manta.get(kept)) == 3_000_000
        assert manta.get(manta.remote(abs).remote(-1)) == 1
        del mine, kept
        at_rest(cluster)


def test_a_second_driver_is_told_when_the_cluster_goes(tmp_path: Path):
    with running_cluster() as cluster:
        second = start(
            """
            import sys, time, manta
            manta.init(address="auto", log_to_driver=False)
            ref = manta.remote(time.sleep).remote(600)
            print("waiting", flush=True)
            try:
                manta.get(ref)
            except manta.exceptions.LocalRayletDiedError as error:
                print(type(error).__name__)
            """,
            tmp_path,
        )
        assert second.stdout is not None
        assert second.stdout.readline() == "waiting\n"
        wait_until(lambda: cluster.status()["scheduler"]["leases"] == 1)
    stdout, stderr = second.communicate(timeout=60)
    assert stdout == "LocalRayletDiedError\n", stderr


def sessions(sandbox: Sandbox) -> Path:
    folder = sandbox.path / f"manta-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def forge(sandbox: Sandbox, name: str, text: str) -> Path:
    folder = sessions(sandbox) / name
    folder.mkdir(mode=0o700)
    path = folder / "address.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"raylet": 7}',
        '{"raylet": "/nobody/listens.sock", "pid": 1}',
        "\0" * 4096,
        "[" * 100_000,
    ],
    ids=["empty", "torn", "a list", "null", "a number", "dead", "zeros", "nested"],
)
def test_a_dead_or_foreign_address_is_no_cluster(text: str, sandbox: Sandbox):
    path = forge(sandbox, "session_forged", text)
    try:
        with pytest.raises(ConnectionError, match="no cluster"):
            manta.init(address="auto")
    finally:
        path.unlink()


def test_a_dead_address_does_not_hide_a_living_one(sandbox: Sandbox, tmp_path: Path):
    with running_cluster():
        later = time.time() + 60
        path = forge(sandbox, "session_forged", json.dumps({"raylet": str(sandbox.path / "gone.sock"), "pid": 1}))
        os.utime(path, (later, later))
        second = start("import manta; manta.init(address='auto'); print(manta.cluster_resources()['CPU'])", tmp_path)
        stdout, stderr = second.communicate(timeout=60)
        assert stdout == "2.0\n", stderr
        path.unlink()


def test_a_driver_joins_by_the_raylets_path(tmp_path: Path):
    with running_cluster() as cluster:
        for address in (cluster.socket, f"unix:{cluster.socket}"):
            second = start(f"import manta; manta.init({address!r}); print(manta.get(manta.put(7)))", tmp_path)
            stdout, stderr = second.communicate(timeout=60)
            assert stdout == "7\n", stderr
        assert Node(cluster.socket).status()["jobs"] == 1


def test_ten_drivers_at_once(tmp_path: Path):
    code = """
    import manta, sys
    manta.init(address="auto", log_to_driver=False)
    print(sum(manta.get([manta.remote(abs).remote(-n) for n in range(100)])))
    """
    with running_cluster() as cluster:
        drivers = [start(code, tmp_path) for _ in range(10)]
        for driver in drivers:
            stdout, stderr = driver.communicate(timeout=100)
            assert stdout == "4950\n", stderr
        at_rest(cluster)
        wait_until(lambda: cluster.status()["jobs"] == 1)
