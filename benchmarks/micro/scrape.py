"""What one scrape of each metrics port costs whoever asks: a head as `manta start` makes it, with tasks in its books.

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


def main() -> None:
    """Measure and print."""
    cluster = Outside("manta", 2, "--metrics-port=0")
    try:
        manta.init(cluster.address)

        @manta.remote
        def work(number: int) -> int:
            from manta.util.metrics import Counter

            Counter("things", tag_keys=("kind",)).inc(1, {"kind": str(number % 50)})
            return number

        manta.get([work.remote(number) for number in range(2_000)])
        print(f"load {os.getloadavg()[0]:.1f}\n{'process':>10} {'median ms':>10} {'worst ms':>9} {'bytes':>8}")
        for process, address in cluster.metrics.items():
            took: list[float] = []
            for _ in range(_SCRAPES):
                began = perf_counter()
                size = len(scrape(address, cluster.viewer))
                took.append((perf_counter() - began) * 1e3)
            print(f"{process:>10} {statistics.median(took):10.1f} {max(took):9.1f} {size:8}")
        manta.shutdown()
    finally:
        cluster.stop()


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
