"""A real Prometheus scrapes a cluster of three nodes: the sums are the cluster's, and each node's numbers are its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import manta
from manta.cli.tool import Tool
from manta.testing import Cluster
from manta.transport import auth
from tests.support.ports import free_port
from tests.support.prometheus import Target, prometheus
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.leaks import Sandbox

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: apt install prometheus")

CLUSTER = None
SIZE = 5_000_000


def test_its_numbers_agree_with_the_stores_the_ledgers_and_the_kernel(sandbox: Sandbox, tmp_path: Path, monkeypatch):
    token_file = tmp_path / "viewer"
    auth.write_token(str(token_file), auth.new_token())
    monkeypatch.setenv("MANTA_metrics_token_path", str(token_file))
    monkeypatch.setenv("MANTA_control_metrics_port", str(control := free_port()))
    ports = [free_port() for _ in range(3)]
    monkeypatch.setenv("MANTA_metrics_port", str(ports[0]))
    with Cluster(head_node_args={"num_cpus": 1, "resources": {"0": 1}}) as cluster:
        for number in (1, 2):
            monkeypatch.setenv("MANTA_metrics_port", str(ports[number]))
            cluster.add_node(num_cpus=number + 1, resources={str(number): 1})
        cluster.connect(log_to_driver=False)
        nodes = cluster.list_all_nodes()
        targets = [
            Target(f"127.0.0.1:{port}", "raylet", token_file, {"node": str(at)}) for at, port in enumerate(ports)
        ]
        with prometheus(tmp_path, [*targets, Target(f"127.0.0.1:{control}", "control", token_file)]) as watched:
            assert wait_until(lambda: watched.up() == 4, timeout_s=30)
            ref = manta.put(bytes(SIZE))

            @manta.remote(num_cpus=0)
            def there(value: bytes) -> int:
                return len(value)

            lengths = [there.options(resources={name: 1}).remote(ref) for name in ("1", "2")]
            assert manta.get(lengths, timeout=30) == [SIZE, SIZE]

            def told(query: str) -> dict[str, float]:
                return {one["metric"].get("node", ""): float(one["value"][1]) for one in watched.series(query)}

            def sealed() -> dict[str, float]:
                found = {}
                for at, node in enumerate(nodes):
                    with Tool(node.socket) as tool:
                        found[str(at)] = float(tool.status()["store"]["sealed_bytes"])
                return found

            assert wait_until(lambda: told("manta_transfer_seconds_count") == {"0": 0, "1": 1, "2": 1}, timeout_s=20)

            def moved() -> list[dict[str, float]]:
                return [told(f'manta_transfer_bytes_total{{direction="{way}"}}') for way in ("in", "out")]

            # Each node is asked at a moment of its own.
            wait_until(lambda: len({sum(way.values()) for way in moved()}) == 1, what="what came to be what went")
            came, _ = moved()
            assert came["0"] == 0
            assert min(came["1"], came["2"]) >= SIZE
            assert wait_until(lambda: told('manta_object_store_bytes{state="sealed"}') == sealed(), timeout_s=20)
            assert min(sealed().values()) >= SIZE
            cpus = {"0": 1, "1": 2, "2": 3}
            assert wait_until(lambda: told('manta_resources{resource="CPU",state="total"}') == cpus)
            assert wait_until(lambda: watched.value('manta_nodes{state="ALIVE"}') == 3)

            def resident() -> dict[str, Any]:
                return {
                    str(at): pytest.approx(psutil.Process(node.pid).memory_info().rss, rel=0.15)
                    for at, node in enumerate(nodes)
                }

            wait_until(lambda: told('manta_process_resident_bytes{component="raylet"}') == resident())
        manta.shutdown()
