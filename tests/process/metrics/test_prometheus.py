"""A real Prometheus scrapes the cluster, and what it then knows agrees with the kernel and with the store's own account.

Debian and Ubuntu: `apt install prometheus`; CI installs it. Without it these tests are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import manta
from manta.cli.tool import Tool
from manta.client import current
from tests.process.metrics.conftest import Ports, free_port
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.shared_cluster,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: apt install prometheus"),
]

_CONFIG = """
global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
- job_name: manta
  authorization:
    credentials_file: {token_file}
  static_configs:
  - targets: ['127.0.0.1:{raylet}', '127.0.0.1:{control}']
"""


class Prometheus:
    """A running one."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **parameters: str) -> Any:
        """The data of one answer."""
        url = f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=5) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, query: str) -> list[float]:
        """The values of a query's series."""
        return [float(series["value"][1]) for series in self.get("query", query=query)["result"]]

    def value(self, query: str) -> float | None:
        """The value of a query with one series; None while there is none."""
        values = self.values(query)
        return values[0] if len(values) == 1 else None


@pytest.fixture(scope="module")
def prometheus(ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder: Path = tmp_path_factory.mktemp("prometheus")
    config = _CONFIG.format(token_file=ports.token_file, raylet=ports.raylet, control=ports.control)
    (folder / "prometheus.yml").write_text(config)
    port = free_port()
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        found = Prometheus(port)
        wait_until(lambda: _up(found) == [1.0, 1.0], timeout_s=30)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=20)


def _up(prometheus: Prometheus) -> list[float]:
    try:
        return prometheus.values("up")
    except OSError:
        return []


def test_it_scrapes_raylet_and_control_with_the_viewer_token(prometheus):
    targets = prometheus.get("targets", state="active")["activeTargets"]

    assert ["up", "up"] == [target["health"] for target in targets]
    assert [""] * 2 == [target["lastError"] for target in targets]


def test_bytes_of_the_store_agree_with_its_own_account(prometheus):
    ref = manta.put(bytes(7_000_000))
    with Tool(current.session.raylet_endpoint) as tool:
        own = wait_until(lambda: store if (store := tool.status()["store"])["sealed_bytes"] >= 7_000_000 else None)

    assert wait_until(lambda: prometheus.value('manta_object_store_bytes{state="sealed"}') == own["sealed_bytes"])
    assert own["capacity_bytes"] == prometheus.value('manta_object_store_bytes{state="capacity"}')
    del ref


def test_memory_of_the_processes_agrees_with_psutil(prometheus):
    with Tool(current.session.raylet_endpoint) as tool:
        raylet = psutil.Process(tool.status()["pid"])
    workers = [one for one in raylet.children(recursive=True) if one.name() != "prometheus"]

    told = prometheus.value('manta_process_resident_bytes{component="raylet"}')
    assert told == pytest.approx(raylet.memory_info().rss, rel=0.1)
    counted = prometheus.value('sum(manta_processes{component=~"worker|factory"})')
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
    before = prometheus.value(query)
    manta.get(burn.remote(1.0))

    # The kernel counts in hundredths of a second, rounded down, for each process.
    after = wait_until(lambda: now if (now := prometheus.value(query)) >= before + 0.95 else None)
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
    assert 3 == prometheus.value('manta_resources{resource="disk",state="total"}')
    assert wait_until(lambda: prometheus.value('manta_actors{state="ALIVE"}') == 1)
    manta.kill(holder)
    assert wait_until(lambda: prometheus.value('manta_actors{state="ALIVE"}') == 0)
    assert wait_until(lambda: prometheus.value('manta_resources{resource="disk",state="used"}') == 0)
