"""One object to several hosts over links of 1 Gbit/s: `python -m benchmarks.broadcast [--nodes 4] [--system ray]`.

Hosts are network namespaces on this machine, each with a cable to one switch; a token bucket at both ends of every cable limits
what goes in and what comes out. It needs root. The driver is on the first host and puts an object there; a task on each other
host wants it. Timed is from asking until the last has it: with one host that asks, and with all of them at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.netns import Host, hosts, what_is_missing

ROOT = Path(__file__).parent.parent

#: Runs on the first host: (module, address, hosts that ask, bytes, repeats) in, JSON lines out.
DRIVER = """
import importlib, json, sys, time
import numpy
module, address, count, size, repeats = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
ray = importlib.import_module(module)
ray.init(address=address, log_to_driver=False)


@ray.remote(num_cpus=0)
def look(refs):
    if not refs:
        return 0
    array = ray.get(refs[0])
    return len(array) if array[-1] == array[0] == 7 else -1


def ask(refs, nodes):
    return ray.get([look.options(resources={f"host{n}": 0.001}).remote(refs) for n in nodes])


everyone = range(1, count + 1)
ask([], everyone)
for turn in range(repeats + 1):
    for nodes in ([turn % count + 1], everyone):
        # The first turn is not counted: it makes processes, connections and pages.
        ref = ray.put(numpy.full(size if turn else size // 10, 7, dtype=numpy.uint8))
        start = time.perf_counter()
        found = ask([ref], nodes)
        seconds = time.perf_counter() - start
        assert found == [size if turn else size // 10] * len(nodes), found
        if turn:
            print(json.dumps({"hosts": len(nodes), "seconds": seconds}), flush=True)
        del ref
        time.sleep(0.5)
ray.shutdown()
"""


@contextlib.contextmanager
def limited(every: list[Host], rate: str) -> Iterator[None]:
    """Both ends of every cable."""
    for host in every:
        for place in (["-n", host._name], ["-n", host._switch]):
            device = "eth0" if place[1] == host._name else host._port
            words = ["tc", *place, "qdisc", "add", "dev", device, "root", "tbf", "rate", rate]
            subprocess.run([*words, "burst", "256kb", "latency", "50ms"], check=True)
    yield


def run(host: Host, words: list[str]) -> str:
    """Run a program on a host to its end; what it printed."""
    done = host.run(words, timeout_s=600)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def manta(every: list[Host], store: int) -> Iterator[str]:
    """A cluster of these hosts; the address for drivers on the first."""
    command = [sys.executable, "-m", "manta.cli"]
    flags = ["--object-store-memory", str(store), "-o", "json"]
    try:
        head = json.loads(run(every[0], [*command, "start", "--head", "--no-gateway", "--no-dashboard", *flags]))
        for number, host in enumerate(every[1:], start=1):
            resources = json.dumps({f"host{number}": 1})
            run(host, [*command, "start", "--join-file", head["join_file"], "--resources", resources, *flags])
        yield "auto"
    finally:
        for host in reversed(every):
            host.run([*command, "stop", "--all"])


@contextlib.contextmanager
def ray(every: list[Host], store: int) -> Iterator[str]:
    """The same with Ray."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--disable-usage-stats"]
    started: list[subprocess.Popen[str]] = []
    try:
        for number, host in enumerate(every):
            flags = ["--block", "--node-ip-address", host.address, "--object-store-memory", str(store)]
            if number:
                flags += ["--address", f"{every[0].address}:6379", "--resources", json.dumps({f"host{number}": 1})]
            else:
                flags += ["--head", "--port", "6379", "--include-dashboard", "false", "--temp-dir", str(host.temp)]
            output = (host.temp / "start.log").open("w")
            started.append(host.start([*command, *flags], stdout=output, stderr=output, start_new_session=True))
            time.sleep(8)
        yield f"{every[0].address}:6379"
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(30)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", choices=("manta", "ray"), default="manta")
    parser.add_argument("--nodes", type=int, default=4, help="hosts that want the object")
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--rate", default="1gbit")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", help="write what was measured there")
    chosen = parser.parse_args()
    missing = what_is_missing()
    if missing:
        raise SystemExit(missing)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # hosts and clusters end with it all the same
    size = chosen.mb * 1_000_000
    with tempfile.TemporaryDirectory(prefix="bc") as folder, hosts(chosen.nodes + 1, Path(folder)) as every:
        script = Path(folder) / "driver.py"
        script.write_text(DRIVER)
        load = os.getloadavg()[0]
        with limited(every, chosen.rate), globals()[chosen.system](every, 2 * size) as address:
            words = [sys.executable, str(script), chosen.system, address]
            said = run(every[0], [*words, *map(str, (chosen.nodes, size, chosen.repeats))])
    found: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    one = [row["seconds"] for row in found if row["hosts"] == 1]
    all_ = [row["seconds"] for row in found if row["hosts"] == chosen.nodes]
    result = {
        "system": chosen.system,
        "mb": chosen.mb,
        "rate": chosen.rate,
        "hosts": chosen.nodes,
        "one_copy_s": one,
        "broadcast_s": all_,
        "times_one_copy": statistics.median(all_) / statistics.median(one),
        "cpus": os.cpu_count(),
        "load_before": load,
    }
    print(json.dumps(result))
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
