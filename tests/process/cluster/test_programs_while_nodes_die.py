"""The reference programs, from a host outside through the gateway of three others, while nodes and control are killed.

A node is killed only when it has neither an actor nor the sole copy of an object: what is lost with those ends in errors by
design, until objects can be made again from their lineage. Tasks that run there are run again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.process import implementation
from tests.process.cluster.support import Node, command_lines
from tests.process.cluster.test_hosts import manta
from tests.process.programs import harness
from tests.process.programs.notebook import RECORD
from tests.process.semantics.support import is_running
from tests.support.netns import hosts
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.leaks import Sandbox
    from tests.support.netns import Host

CLUSTER = None
pytestmark = [pytest.mark.shared_cluster, pytest.mark.timeout(180)]

#: Cells that end in an exception everywhere.
ON_PURPOSE = {"p000_remote_functions": {"5": "RayTaskError(OSError)", "8": "RayTaskError(TypeError)"}}
#: Everyday all that take a minute together; with PROGRAMS_WHILE_NODES_DIE=all that of objects too, which alone takes longer.
PROGRAMS = ["p001_tasks_tour", "p003_actors", "p002_tasks", "p000_remote_functions"]
if os.environ.get("PROGRAMS_WHILE_NODES_DIE") == "all":
    PROGRAMS += ["p004_objects"]


class Rig:
    """Three nodes, a host for drivers, and who kills."""

    def __init__(
        self, host: Host, head: dict[str, Any], workers: dict[Host, dict[str, Any]], outside: Host, web: str
    ) -> None:
        self.host, self.head, self.workers, self.outside, self.web = host, head, workers, outside, web
        self.killed = {"control": 0, "node": 0}

    def start(self, program: str) -> subprocess.Popen[str]:
        folder = Path(self.head["join_file"]).parent
        environment = implementation.driver_environment(
            PROGRAM_TIME_SCALE=str(harness.TIME_SCALE),
            PROGRAM_WEB=self.web,
            PROGRAM_GATEWAY=self.head["gateway"],
            MANTA_TOKEN_FILE=str(folder / "driver.token"),
            MANTA_CA_FILE=str(folder / "ca.crt"),
            TMPDIR=str(self.outside.temp),
        )
        script = harness.HERE / program / "program.py"
        words = implementation.driver_command(
            str(harness.HERE / "notebook.py"), str(script), starter="tests.support.joining"
        )
        return subprocess.Popen(
            self.outside.command(words),
            cwd=script.parent,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def control(self) -> int:
        session = str(Path(self.head["session_dir"]))
        return next((pid for pid, words in command_lines() if "manta.control" in words and session in words), 0)

    def kill_control(self) -> None:
        pid = self.control()
        os.kill(pid, signal.SIGKILL)
        self.killed["control"] += 1
        wait_until(lambda: self.control() not in (0, pid), what="control to be started again", timeout_s=20)
        ask = ["ss", "--no-header", "-ltn", f"sport = :{self.head['control'].rpartition(':')[2]}"]
        wait_until(lambda: self.host.run(ask).stdout, what="it to listen", timeout_s=20)

    def kill_a_node(self) -> None:
        """And start another one in its place."""
        host = wait_until(self._a_victim, what="a node that has neither an actor nor an object", timeout_s=30)
        assert host is not None
        pid: int = self.workers[host]["pid"]
        os.kill(pid, signal.SIGKILL)
        self.killed["node"] += 1
        wait_until(lambda: not is_running(pid), what="its end")
        host.run([sys.executable, "-m", "manta.cli", "stop", "--all"])
        self.workers[host] = join(host, self.head)

    def _a_victim(self) -> Host | None:
        for host, node in self.workers.items():
            status = Node(node["raylet"]).status()
            if not status["actors"] and not status["store"]["objects"]:
                return host
        return None


def join(host: Host, head: dict[str, Any]) -> dict[str, Any]:
    flags = ("--num-cpus", "3", "--object-store-memory", "150M", "-o", "json")
    return manta(host, "start", "--join-file", head["join_file"], *flags)


@pytest.fixture(scope="module")
def rig(module_sandbox: Sandbox) -> Iterator[Rig]:
    """A cluster of three hosts, and a fourth host."""
    with hosts(4, module_sandbox.path) as (one, two, three, outside), contextlib.ExitStack() as stack:
        for host in (one, two, three):
            stack.callback(host.run, [sys.executable, "-m", "manta.cli", "stop", "--all"])
        flags = ("--no-dashboard", "--num-cpus", "4", "--object-store-memory", "200M", "-o", "json")
        head = manta(one, "start", "--head", *flags)
        workers = {host: join(host, head) for host in (two, three)}
        web = one.start(
            [sys.executable, "-m", "http.server", "8000", "-d", str(harness.HERE / "web")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(web.wait, 10)
        stack.callback(web.terminate)
        yield Rig(one, head, workers, outside, f"http://{one.address}:8000")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_does_what_it_does_on_a_quiet_cluster(rig: Rig, program: str):
    before = dict(rig.killed)
    deeds = {4: rig.kill_a_node, 6: rig.kill_control, 9: rig.kill_a_node, 12: rig.kill_control}
    cell = 0
    driver = rig.start(program)
    out: list[str] = []
    assert driver.stdout is not None
    assert driver.stderr is not None
    try:
        for line in driver.stdout:
            out.append(line)
            if line.startswith(RECORD) and '"cell"' in line:
                cell += 1
                if cell in deeds:
                    deeds[cell]()
        driver.wait(60)
    finally:
        driver.kill()
        driver.wait(10)
        said = driver.stderr.read()
        driver.stderr.close()
        driver.stdout.close()
    cells, _ = harness.parse("".join(out))
    failed = {name: cell.error["type"] for name, cell in cells.items() if cell.error is not None}
    assert driver.returncode == 0, said
    assert failed == ON_PURPOSE.get(program, {}), said
    assert rig.killed["control"] > before["control"]
    assert rig.killed["node"] > before["node"]
