"""What one scrape of each metrics port costs whoever asks: a cluster of three nodes as `manta start` makes them, with tasks,
actors, objects, groups, copies between nodes and metrics of users in their books.

    python -m benchmarks.micro.scrape

Prints milliseconds from connecting to the last byte, median and worst of a hundred, and the answer's size. Goal: < 50 ms each.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
from time import perf_counter
from urllib.parse import urlsplit

import manta
from benchmarks.systems.outside import Outside

_SCRAPES = 100
_NODES = ("second", "third")


def main() -> None:
    """Measure and print."""
    cluster = Outside("manta", 2, "--metrics-port=0")
    try:
        ports = {**cluster.metrics, **{name: cluster.add_node(2, name) for name in _NODES}}
        manta.init(cluster.address)
        kept = fill()
        print(f"load {os.getloadavg()[0]:.1f}\n{'process':>10} {'median ms':>10} {'worst ms':>9} {'bytes':>8}")
        for process, address in ports.items():
            took: list[float] = []
            for _ in range(_SCRAPES):
                began = perf_counter()
                size = len(scrape(address, cluster.viewer))
                took.append((perf_counter() - began) * 1e3)
            print(f"{process:>10} {statistics.median(took):10.1f} {max(took):9.1f} {size:8}")
        del kept
        manta.shutdown()
    finally:
        cluster.stop()


def fill() -> list[object]:
    """Give every node something to tell; what must live until it was told."""
    from manta.util.placement_group import placement_group

    @manta.remote
    def work(number: int) -> int:
        from manta.util.metrics import Counter, Histogram

        Counter("things", tag_keys=("kind",)).inc(1, {"kind": str(number % 50)})
        Histogram("sizes", boundaries=[1, 10, 100, 1000], tag_keys=("kind",)).observe(
            number, {"kind": str(number % 20)}
        )
        return number

    @manta.remote(scheduling_strategy="SPREAD")
    def make() -> bytearray:
        return bytearray(1 << 20)

    @manta.remote(num_cpus=0, scheduling_strategy="SPREAD")
    class Actor:
        def name(self) -> str:
            return "actor"

    manta.get([work.options(scheduling_strategy="SPREAD").remote(number) for number in range(2_000)])
    actors = [Actor.remote() for _ in range(12)]
    manta.get([actor.name.remote() for actor in actors])
    objects = [make.remote() for _ in range(60)]
    manta.get(objects)
    group = placement_group([{"CPU": 0.1}] * 3, strategy="SPREAD")
    group.wait(30)
    return [*actors, *objects, group]


def scrape(address: str, token: str) -> bytes:
    """One answer of /metrics, on a connection of its own as Prometheus' first is."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{address} answered {answer.status}: {json.dumps(body.decode()[:200])}")
        return body
    finally:
        connection.close()


if __name__ == "__main__":
    main()
