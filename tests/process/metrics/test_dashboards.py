"""Dashboards and alerts of the charts, asked of a real Prometheus that scrapes a real head: every query has data.

The targets get the labels that the charts' PodMonitor gives them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.charts import queries
from tests.support import heads
from tests.support.prometheus import Prometheus, Target, prometheus
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.shared_cluster,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: apt install prometheus"),
]

#: A little of everything that panels show: tasks that end well and badly, an actor, an object, and time on a CPU.
WORK = """
import time
import manta

manta.init(address="auto", log_to_driver=False)

@manta.remote
def fine(x):
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    return bytes(200_000)

@manta.remote
def wrong():
    raise ValueError("as it should")

@manta.remote
class Counter:
    def up(self):
        return 1

counter = Counter.remote()
manta.get(counter.up.remote())
kept = manta.put(bytes(1_000_000))
print("works", flush=True)
while True:
    manta.get([fine.remote(i) for i in range(4)] + [counter.up.remote()])
    try:
        manta.get(wrong.remote())
    except Exception:
        pass
"""


@pytest.fixture(scope="module")
def head(module_sandbox) -> Iterator[heads.Head]:
    # A resource of one's own, as a group's customResources are: without any its panel is empty.
    with heads.started("--resources", '{"disk": 3}') as head:
        yield head


@pytest.fixture(scope="module")
def works(head: heads.Head) -> Iterator[None]:
    """A driver that has something done all the while."""
    process = subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "works\n"
        assert head.ask("GET", "/api/version", token="viewer")[0] == 200
        yield
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope="module")
def watched(head: heads.Head, works: None, module_sandbox) -> Iterator[Prometheus]:
    folder: Path = module_sandbox.path / "prometheus"
    folder.mkdir()
    token = folder / "token"
    token.write_text(head.token("viewer"))
    targets = [
        Target(
            address.removeprefix("http://"),
            "manta",
            token,
            {
                "namespace": "default",
                "pod": "demo-head",
                "container": process,
                "manta_cluster": "demo",
                "manta_group": "head",
            },
        )
        for process, address in head.metrics.items()
    ]
    with prometheus(folder, targets) as running:
        yield running
    shutil.rmtree(folder)


def _about_clusters(named: tuple[str, str]) -> bool:
    return "manta_operator_" not in named[1] and 'job="manta-operator"' not in named[1]


ASKED = [named for named in queries.everything() if _about_clusters(named)]


def test_all_processes_of_a_head_are_scraped(watched, head):
    assert wait_until(lambda: watched.up() == len(head.metrics) == 4, timeout_s=30)


def test_every_selector_of_dashboards_and_alerts_has_series(watched):
    """A name or a label's value that nothing tells would show an empty panel, and an alert that never fires."""
    wanted = sorted({str(selector) for _, expression in ASKED for selector in queries.selectors(expression)})
    assert len(wanted) > 40

    def missing() -> list[str]:
        return [selector for selector in wanted if not watched.values(selector)]

    wait_until(lambda: not missing(), timeout_s=30, what=f"there are series for {missing()}")


def test_every_panel_has_data(watched):
    """Their sums, rates and quotients, as Grafana asks them."""
    wanted = [(where, queries.chosen(expression)) for where, expression in queries.panels()]
    wanted = [named for named in wanted if _about_clusters(named)]

    def missing() -> list[str]:
        return [where for where, expression in wanted if not watched.values(expression)]

    wait_until(lambda: not missing(), timeout_s=60, what=f"there are data for {missing()}")


def test_cpu_and_memory_follow_what_runs(watched):
    """The numbers mean something: tasks burn CPU all the while, and the object that the driver keeps is in the store."""
    cpu = 'sum by (pod) (rate(manta_process_cpu_seconds_total{job="manta",component="worker"}[10s]))'
    wait_until(lambda: any(float(one["value"][1]) > 0.1 for one in watched.series(cpu)), timeout_s=30)
    used = 'manta_object_store_bytes{job="manta",state="used"}'
    wait_until(lambda: (watched.value(used) or 0) >= 1_000_000, timeout_s=30)
