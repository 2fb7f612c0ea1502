"""A cluster of hosts that have nothing in common but a network: `manta start` on each, programs, and what happens to nodes."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.semantics.support import is_running
from tests.support.netns import hosts
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.leaks import Sandbox
    from tests.support.netns import Host

CLUSTER = None
#: What is seen of a node that goes silent takes ten seconds by contract.
pytestmark = pytest.mark.timeout(120)

#: A driver that does what it is told, line by line: an expression is answered with its value or the name of its error.
DRIVER = """
import sys
import manta

manta.init(address="auto", log_to_driver=False)


@manta.remote(num_cpus=0, resources={"there": 1})
class Account:
    def __init__(self):
        self.balance = 0

    def add(self, amount):
        self.balance += amount
        return self.balance

    def where(self):
        return manta.get_runtime_context().get_node_id()


def nodes():
    return {node["NodeManagerAddress"]: node["DeathReasonMessage"] for node in manta.nodes()}


def outcome(text):
    try:
        return eval(text)
    except Exception as error:
        return type(error).__name__


print("ready", flush=True)
for line in sys.stdin:
    name, _, text = line.partition(" = ")
    globals()[name] = outcome(text)
    print(repr(globals()[name]), flush=True)
"""


class Driver:
    """A program on a host."""

    def __init__(self, host: Host, script: str) -> None:
        self.process = host.start(
            [sys.executable, "-u", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=str(host.temp)
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        assert self._out.readline() == "ready\n"

    def let(self, name: str, expression: str) -> None:
        """Give a name to a value there."""
        self._say(name, expression)

    def ask(self, expression: str) -> Any:
        """A value of plain data, or the name of the error."""
        return ast.literal_eval(self._say("_", expression))

    def _say(self, name: str, expression: str) -> str:
        self._in.write(f"{name} = {expression}\n")
        self._in.flush()
        return self._out.readline()

    def end(self) -> None:
        self._in.close()
        self.process.wait(20)
        self._out.close()


def manta(host: Host, *words: str) -> dict[str, Any]:
    """Run `manta`; what it says as JSON."""
    done = host.run([sys.executable, "-m", "manta.cli", *words])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def two(sandbox: Sandbox) -> Iterator[tuple[Driver, dict[str, Any], Host]]:
    """A program on the head; what the node on the other host said of itself, and that host."""
    flags = ("--num-cpus", "1", "--object-store-memory", "80M", "-o", "json")
    with hosts(2, sandbox.path) as (one, other), contextlib.ExitStack() as stack:
        for host in (one, other):
            stack.callback(host.run, [sys.executable, "-m", "manta.cli", "stop", "--all"])
        head = manta(one, "start", "--head", *flags)
        assert head["control"] == f"{one.address}:7600"
        node = manta(other, "start", "--join-file", head["join_file"], "--resources", '{"there": 1}', *flags)
        assert node["door"] == f"{other.address}:7610"
        script = sandbox.path / "driver.py"
        script.write_text(DRIVER)
        driver = Driver(one, str(script))
        stack.callback(script.unlink)
        stack.callback(driver.end)
        yield driver, node, other


def test_an_actor_runs_on_the_other_host_and_the_end_of_that_is_noticed_by_its_connection(two):
    driver, node, other = two
    driver.let("account", "Account.remote()")
    assert driver.ask("manta.get(account.where.remote(), timeout=20)") == node["node_id"]
    assert driver.ask("manta.get([account.add.remote(1) for _ in range(100)])[-1]") == 100
    assert manta(other, "status", "-o", "json")["actors"][0]["state"] == "ALIVE"

    os.kill(node["pid"], signal.SIGKILL)
    # By silence it would take ten seconds, and be said so.
    wait_until(lambda: driver.ask("nodes()")[other.address] == "its connection closed and was not opened again")
    assert driver.ask("manta.get(account.add.remote(1), timeout=20)") == "ActorDiedError"


def test_a_short_cut_of_the_network_costs_nothing(two):
    driver, _, other = two
    driver.let("account", "Account.remote()")
    assert driver.ask("manta.get(account.add.remote(1), timeout=20)") == 1
    other.pull_the_cable()
    driver.let("late", "account.add.remote(1)")
    assert driver.ask("len(manta.wait([late], timeout=3)[0])") == 0
    other.plug_it_in()
    assert driver.ask("manta.get(late, timeout=30)") == 2
    assert driver.ask("manta.get(account.add.remote(1), timeout=20)") == 3
    assert set(driver.ask("nodes()").values()) == {""}


def test_a_silent_node_is_given_up_and_told_so_when_it_comes_back(two):
    driver, node, other = two
    driver.let("account", "Account.remote()")
    assert driver.ask("manta.get(account.add.remote(1), timeout=20)") == 1
    other.pull_the_cable()
    assert driver.ask("manta.get(account.add.remote(1), timeout=40)") == "ActorDiedError"
    assert driver.ask("nodes()")[other.address] != ""
    assert is_running(node["pid"])
    other.plug_it_in()
    wait_until(lambda: not is_running(node["pid"]), what="the node to end by itself", timeout_s=40)
