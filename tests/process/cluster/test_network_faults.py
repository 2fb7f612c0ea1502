"""The network between three hosts fails in every way it can while all of them live: nothing fails, nothing runs twice."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.cluster.test_hosts import Driver, manta
from tests.support.netns import hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.leaks import Sandbox
    from tests.support.netns import Host

CLUSTER = None
pytestmark = [pytest.mark.shared_cluster, pytest.mark.timeout(120)]

DOOR = 7610

#: Each task and call writes down that it ran. None of them may run again: no retries are allowed.
DRIVER = """
import ast
import sys
import time

import manta

LEDGER = {ledger!r}
manta.init(address="auto", log_to_driver=False)


def ran(what):
    with open(LEDGER, "a") as file:
        file.write(what + "\\n")


@manta.remote(num_cpus=1, max_retries=0)
def once(name, number):
    ran(f"{{name}} task {{number}}")
    time.sleep(0.02)
    return number


@manta.remote(num_cpus=0)
class Account:
    def __init__(self):
        self.count = 0

    def add(self, name, number):
        ran(f"{{name}} call {{number}}")
        self.count += 1
        return self.count

    def make(self, size):
        return bytes(size)

    def read(self, value):
        return len(value)

    def keep(self, refs):
        self.kept = refs

    def kept_sum(self):
        return sum(manta.get(self.kept))


two, three = (Account.options(resources={{name: 1}}).remote() for name in ("two", "three"))
never = Account.options(resources={{"nowhere": 1}}).remote().read.remote(b"")
manta.get([two.read.remote(b""), three.read.remote(b"")], timeout=30)


def begin(name):
    return (
        [once.remote(name, number) for number in range(100)],
        [actor.add.remote(name, number) for number in range(100) for actor in (two, three)],
        [three.read.remote(two.make.remote(3_000_000)) for _ in range(5)],
    )


def later(name):
    time.sleep(0.05)
    return [actor.add.remote(name, 1000 + number) for number in range(20) for actor in (two, three)]


def passes(seconds):
    return len(manta.wait([never], timeout=seconds)[0])


def nodes():
    return sorted({{node["DeathReasonMessage"] for node in manta.nodes()}})


print("ready", flush=True)
for line in sys.stdin:
    name, _, text = line.partition(" = ")
    try:
        globals()[name] = eval(text)
    except Exception as error:
        globals()[name] = f"{{type(error).__name__}}: {{error}}"
    print(repr(globals()[name]), flush=True)
"""


class Net:
    """Three hosts, a driver on the first, and what ran."""

    def __init__(self, driver: Driver, one: Host, two: Host, three: Host, ledger: Path) -> None:
        self.driver, self.ledger = driver, ledger
        self.one, self.two, self.three = one, two, three

    def pairs(self) -> list[tuple[Host, Host]]:
        return [(self.one, self.two), (self.two, self.one), (self.two, self.three), (self.three, self.two)]

    def passes(self, seconds: float) -> None:
        """The driver waits for something that never comes."""
        assert self.driver.ask(f"passes({seconds})") == 0


@pytest.fixture(scope="module")
def net(module_sandbox: Sandbox) -> Iterator[Net]:
    """A cluster of three hosts."""
    with hosts(3, module_sandbox.path) as all_hosts, contextlib.ExitStack() as stack:
        one, two, three = all_hosts
        for host in all_hosts:
            stack.callback(host.run, [sys.executable, "-m", "manta.cli", "stop", "--all"])
        flags = ("--num-cpus", "1", "--object-store-memory", "80M", "-o", "json")
        head = manta(one, "start", "--head", "--no-gateway", "--no-dashboard", *flags)
        for name, host in (("two", two), ("three", three)):
            manta(host, "start", "--join-file", head["join_file"], "--resources", f'{{"{name}": 1}}', *flags)
        script, ledger = module_sandbox.path / "driver.py", module_sandbox.path / "ledger"
        script.write_text(DRIVER.format(ledger=str(ledger)))
        ledger.touch()
        driver = Driver(one, str(script))
        stack.callback(script.unlink)
        stack.callback(ledger.unlink)
        stack.callback(driver.end)
        yield Net(driver, one, two, three, ledger)


def cut(net: Net) -> None:
    """The second host is cut off from both others."""
    for near, far in net.pairs():
        near.drop(far)
    net.passes(2)
    for near, far in net.pairs():
        near.let_through(far)


def one_way(net: Net) -> None:
    """What the driver's host sends is lost; what it is sent arrives."""
    net.one.drop(net.two)
    net.passes(2)
    net.one.let_through(net.two)


def other_way(net: Net) -> None:
    """What the second host sends is lost, to both others."""
    net.two.drop(net.one)
    net.two.drop(net.three)
    net.passes(2)
    net.two.let_through(net.one)
    net.two.let_through(net.three)


def flapping(net: Net) -> None:
    """It comes and goes."""
    for _ in range(4):
        for near, far in net.pairs():
            near.drop(far)
        net.passes(0.2)
        for near, far in net.pairs():
            near.let_through(far)
        net.passes(0.2)


def resets(net: Net) -> None:
    """Every connection between nodes is reset, again and again."""
    rounds = there_were = 0
    # They are dialled anew in their time: on a busy machine not in each round.
    while rounds < 5 or there_were <= 5:
        assert rounds < 60, f"there were {there_were} to reset"
        there_were += net.two.reset(DOOR) + net.one.reset(DOOR)
        net.passes(0.3)
        rounds += 1


def resets_while_cut(net: Net) -> None:
    """Half-open: one end is told, and dials in vain; the other is not."""
    for near, far in net.pairs():
        near.drop(far)
    net.one.reset(DOOR)
    net.passes(1)
    for near, far in net.pairs():
        near.let_through(far)


@pytest.mark.parametrize("fault", [cut, one_way, other_way, flapping, resets, resets_while_cut])
def test_nothing_fails_and_nothing_runs_twice(net: Net, fault: Callable[[Net], None]):
    """Tasks without retries, calls of actors, a large object from one to the other, and a borrowed ref."""
    name, driver = fault.__name__, net.driver
    driver.let("kept", "[manta.put(number) for number in range(10)]")
    driver.let("lent", "two.keep.remote(kept)")
    driver.let("begun", f"begin({name!r})")
    fault(net)
    driver.let("more", f"later({name!r})")
    driver.let("kept", "None")
    assert driver.ask("manta.get(begun[0], timeout=40) == list(range(100))") is True
    assert driver.ask("len(manta.get(begun[1] + more, timeout=40))") == 240
    assert driver.ask("manta.get(begun[2], timeout=40)") == [3_000_000] * 5
    assert driver.ask("manta.get(two.kept_sum.remote(), timeout=20)") == 45
    assert driver.ask("nodes()") == [""], "nobody was given up"
    ran = Counter(line for line in net.ledger.read_text().splitlines() if line.startswith(f"{name} "))
    assert {line: count for line, count in ran.items() if count != (1 if "task" in line else 2)} == {}
    assert len(ran) == 100 + 120
