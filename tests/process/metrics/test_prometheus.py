"""A real Prometheus scrapes the cluster, and what it then knows agrees with the kernel and with the store's own account.

Debian and Ubuntu: `apt install prometheus`; CI installs it. Without it these tests are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import manta
from manta.cli.tool import Tool
from manta.client import current
from tests.process.metrics.conftest import Ports
from tests.support.prometheus import Prometheus, Target
from tests.support.prometheus import prometheus as real_prometheus
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.shared_cluster,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: apt install prometheus"),
]


@pytest.fixture(scope="module")
def prometheus(ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    targets = [Target(f"127.0.0.1:{port}", "manta", Path(ports.token_file)) for port in (ports.raylet, ports.control)]
    with real_prometheus(tmp_path_factory.mktemp("prometheus"), targets) as found:
        wait_until(lambda: found.up() == 2, timeout_s=30)
        yield found


def test_it_scrapes_raylet_and_control_with_the_viewer_token(prometheus):
    def told():
        return [(one["health"], one["lastError"]) for one in prometheus.get("targets", state="active")["activeTargets"]]

    # On a busy machine a look may take more than its second.
    wait_until(lambda: told() == [("up", "")] * 2, what="both to be up")


def test_bytes_of_the_store_agree_with_its_own_account(prometheus):
    ref = manta.put(bytes(7_000_000))
    with Tool(current.session.raylet_endpoint) as tool:
        own = wait_until(lambda: store if (store := tool.status()["store"])["sealed_bytes"] >= 7_000_000 else None)

    assert wait_until(lambda: prometheus.value('manta_object_store_bytes{state="sealed"}') == own["sealed_bytes"])
    assert wait_until(lambda: own["capacity_bytes"] == prometheus.value('manta_object_store_bytes{state="capacity"}'))
    del ref


def test_memory_of_the_processes_agrees_with_psutil(prometheus):
    with Tool(current.session.raylet_endpoint) as tool:
        raylet = psutil.Process(tool.status()["pid"])
    workers = [one for one in raylet.children(recursive=True) if one.name() != "prometheus"]

    told = 'manta_process_resident_bytes{component="raylet"}'
    wait_until(lambda: prometheus.value(told) == pytest.approx(raylet.memory_info().rss, rel=0.1))
    counted = wait_until(lambda: prometheus.value('sum(manta_processes{component=~"worker|factory"})'))
    # The guard is the raylet's child too, and no worker; workers come and go between the two looks.
    assert counted is not None
    assert 1 <= counted <= len(workers) + 2


def test_cpu_seconds_of_workers_agree_with_what_their_task_measured(prometheus):
    @manta.remote
    def burn(seconds):
        import time

        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    query = 'manta_process_cpu_seconds_total{component="worker"}'
    # It is told from the first worker on, which tests before this one have had started, and may be 0 of one that has done little.
    [before] = wait_until(
        lambda: [told] if (told := prometheus.value(query)) is not None else None, what="the number to be known"
    )
    manta.get(burn.remote(1.0))

    # The kernel counts in hundredths of a second, rounded down, for each process.
    after = wait_until(lambda: now if (now := prometheus.value(query) or 0.0) >= before + 0.95 else None)
    # What starting, importing and other workers take besides is little.
    assert after - before < 2.5


def test_resources_and_actors_agree_with_the_ledger(prometheus):
    @manta.remote(num_cpus=1, resources={"disk": 1})
    class Holder:
        def here(self):
            return True

    holder = Holder.remote()
    manta.get(holder.here.remote())

    assert wait_until(lambda: prometheus.value('manta_resources{resource="disk",state="used"}') == 1)
    assert wait_until(lambda: prometheus.value('manta_resources{resource="disk",state="total"}') == 3)
    assert wait_until(lambda: prometheus.value('manta_actors{state="ALIVE"}') == 1)
    manta.kill(holder)
    assert wait_until(lambda: prometheus.value('manta_actors{state="ALIVE"}') == 0)
    assert wait_until(lambda: prometheus.value('manta_resources{resource="disk",state="used"}') == 0)
