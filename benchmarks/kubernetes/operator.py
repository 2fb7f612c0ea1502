"""The operator on an API server without machines: `python -m benchmarks.kubernetes.operator [--pods 200] [--json FILE]`.

Prints, judges nothing. The control plane of tests/kube as processes; nodes are stand-ins, whose pods are said to run once all of
them were made. Root, and a control plane that was built: `./dev kube`.

- creates/s: a group of so many workers, from the first pod to the last one, as a watch hears them; beside it what the API server
  alone allows: a bare loop of POSTs of the same pods, as many at a time as the operator has.
- CPU per pod: user and system time of the operator's process from the wish until all is ready, over the pods.
- memory: what an operator holds that was started with so many ready pods there, has looked at everything and fell silent: its
  anonymous memory, as files are shared. Each further pod is the slope over five sizes, the smallest being a page of a list: up to
  there the page itself, which Python does not give back whole, would be taken for pods. The largest distance of a size from the
  line says what the slope is worth. Of several starts the smallest counts: what is more are connections and garbage.
- at rest: CPU of the process while nothing happens, in thousandths of a core; requests in that time, Leases aside.
- hand-over: from SIGTERM of who leads until the Lease names the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from manta_operator.api.parse import parse_cluster
from manta_operator.builders.build import Build
from manta_operator.builders.pods import worker_pod
from manta_operator.kinds import CLUSTERS
from manta_operator.kube.bulk import MOST_AT_ONCE as AT_A_TIME
from manta_operator.kube.reflector import Limits
from manta_operator.kube.resources import LEASES, PODS, SERVICE_ACCOUNTS
from manta_operator.kube.transport import connect
from tests.kube.conftest import define
from tests.kube.harness.client import Api
from tests.kube.harness.control_plane import ControlPlane, control_plane
from tests.kube.harness.kubelet import Kubelet, stand_in_nodes
from tests.kube.harness.operator import Operator, operator
from tests.kube.reconciling.states import NAME, Place, cluster

PATIENCE_S = 600.0
LEASE = "manta-operator"
#: Memory is measured with so many pods, and with one, two, three and four times `--pods` more; each so often.
FEWEST = Limits().page
STARTS = 3
#: An operator that has done nothing for so long has settled.
SILENT_S = 6.0
_TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def memory_bytes(pid: int) -> dict[str, int]:
    """Its memory: `whole`, what it shares with others counted in parts, and `own`, which is no file's."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    found = {words[0]: int(words[1]) * 1024 for words in lines if words[0].startswith("Pss")}
    return {"whole": found["Pss:"], "own": found["Pss_Anon:"]}


def until(condition: Callable[[], object], what: str, every_s: float = 0.2) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {PATIENCE_S:g} s still not: {what}")
        time.sleep(every_s)


class Births:
    """Hears when pods of a namespace come."""

    def __init__(self, kube: ControlPlane, namespace: str) -> None:
        self.times: list[float] = []
        self._path = PODS.path(namespace)
        self._over = threading.Event()
        self._api = Api(kube.kubeconfig)
        version = self._api.get(self._path).body["metadata"]["resourceVersion"]
        self._thread = threading.Thread(target=self._hear, args=(version,), daemon=True)
        self._thread.start()

    def _hear(self, version: str) -> None:
        while not self._over.is_set():
            for event in self._api.watch(self._path, resourceVersion=version, timeoutSeconds="5"):
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] == "ADDED":
                    self.times.append(time.monotonic())

    def rate(self, count: int) -> float:
        """Pods per second, from the first to the last of so many."""
        until(lambda: len(self.times) >= count, f"{count} pods", every_s=0.02)
        return (count - 1) / (self.times[count - 1] - self.times[0])

    def close(self) -> None:
        """Hear no more."""
        self._over.set()
        self._thread.join()
        self._api.close()


async def bare(kube: ControlPlane, namespace: str, pods: int, at_a_time: int) -> float:
    """Pods per second that the API server makes for somebody who does nothing else."""
    manifest = cluster(replicas=pods)
    manifest["metadata"] |= {"namespace": namespace, "uid": "0"}
    parsed = parse_cluster(manifest)
    group = parsed.spec.worker_groups[0]
    made = [worker_pod(parsed, group, slot, Build()) for slot in range(pods)]
    for one in made:
        del one["metadata"]["ownerReferences"]  # else they are taken away: there is no such owner
    query = {"fieldManager": "manta-operator", "fieldValidation": "Strict"}
    async with connect(kube.kubeconfig, connections=at_a_time) as transport:
        slots = asyncio.Semaphore(at_a_time)

        async def create(pod: dict[str, Any]) -> None:
            async with slots:
                await transport.call("POST", PODS.path(namespace), query=query, body=pod, timeout_s=60.0)

        await create(made[0])  # the connection
        began = time.monotonic()
        await asyncio.gather(*map(create, made[1:]))
        return (pods - 1) / (time.monotonic() - began)


def scaled(kube: ControlPlane, place: Place, kubelet: Kubelet, process: Operator, pods: int) -> dict[str, Any]:
    """From no worker to all of them."""
    pid = process.process.pid
    cpu = cpu_s(pid)
    names = hold(kubelet, place, pods)
    births = Births(kube, place.namespace)
    began = time.monotonic()
    place.apply(cluster(replicas=pods))
    rate = births.rate(pods)
    made_s, made_cpu = births.times[pods - 1] - began, cpu_s(pid) - cpu
    kubelet.release(*names)
    until(place.settled, "all workers are ready", every_s=1.0)  # each look reads every pod
    births.close()
    return {
        "creates_per_s": rate,
        "all_made_s": made_s,
        "cpu_ms_per_pod_made": made_cpu / pods * 1000,
        "ready_s": time.monotonic() - began,
        "cpu_ms_per_pod_ready": (cpu_s(pid) - cpu) / pods * 1000,
    }


def hold(kubelet: Kubelet, place: Place, pods: int) -> set[str]:
    """Start none of a cluster's workers for now; their names."""
    names = {f"{place.namespace}/{NAME}-w-{slot}" for slot in range(pods)}
    kubelet.hold.update(names)
    return names


def memory(kube: ControlPlane, place: Place, folder: Path, pods: int) -> dict[str, int]:
    """Memory of an operator that was started with what there is, once it has fallen silent."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # The last flag of a name counts.
    flags = ("--metrics-port", str(port), "--metrics-host", "127.0.0.1")
    with operator(
        kube.kubeconfig, folder, place.namespace, lease_namespace=place.namespace, lease="memory", more=flags
    ) as process:
        until(partial(_knows, port, pods), f"it has read {pods} pods and looks at nothing any more")
        pid = process.process.pid
        until(partial(_silent, pid), "it does nothing")
        return memory_bytes(pid)


def _knows(port: int, pods: int) -> bool:
    """Whether an operator has a copy of so many pods, has looked at each object, and has nothing left to look at."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
    except OSError:
        return False
    numbers = {name: float(value) for name, value in lines}
    waiting = sum(value for name, value in numbers.items() if name.startswith("manta_operator_queue_length"))
    looks = sum(value for name, value in numbers.items() if name.startswith("manta_operator_reconciles_total"))
    return numbers.get('manta_operator_cached_objects{resource="pods"}') == pods and looks > 0 and not waiting


def _silent(pid: int) -> bool:
    """Whether a process needs less than two hundredths of a core for a while: its Lease, and watches that begin again."""
    before = cpu_s(pid)
    time.sleep(SILENT_S)
    return cpu_s(pid) - before <= 0.02 * SILENT_S


def at_rest(kube: ControlPlane, process: Operator, seconds: float) -> dict[str, float]:
    """What it does while nothing happens."""

    def asked() -> int:
        return sum(call.agent == "manta-operator" and call.resource != "leases" for call in kube.audit())

    pid, before = process.process.pid, asked()
    cpu, began = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return {
        "rest_millicores": (cpu_s(pid) - cpu) / (time.monotonic() - began) * 1000,
        "rest_requests_per_minute": (asked() - before) * 60.0 / seconds,
    }


def handed_over(kube: ControlPlane, place: Place, folder: Path, rounds: int) -> list[float]:
    """Seconds from the end of who leads to the Lease's next holder."""
    path = LEASES.path(place.namespace, LEASE)

    def holder() -> str:
        return str((place.api.get(path).body.get("spec") or {}).get("holderIdentity") or "")

    def start() -> Any:
        return operator(kube.kubeconfig, folder, place.namespace, lease_namespace=place.namespace, lease=LEASE)

    took = []
    for _ in range(rounds):
        with start() as one:
            until(holder, "one leads")
            leader = holder()
            with start() as two:
                until(partial(_follows, two), "the other follows")
                began = time.monotonic()
                one.process.terminate()
                until(partial(_another, holder, leader), "the other leads", every_s=0.005)
                took.append(time.monotonic() - began)
                one.process.wait()
                two.end()
    return took


def _another(holder: Callable[[], str], leader: str) -> bool:
    return holder() not in ("", leader)


def _follows(process: Operator, seconds: float = 5.0) -> bool:
    """Whether it has been up for as long as it takes to read everything here."""
    fields = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - int(fields[19]) / _TICK > seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kubernetes.operator", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--pods", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="of the creates, bare and by the operator in turns")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as kept, control_plane(Path(kept) / "kube") as kube:
        folder = Path(kept)
        with Api(kube.kubeconfig) as api, stand_in_nodes(kube, folder / "controls") as kubelet:
            define(api)
            rounds = [one_round(kube, api, kubelet, folder, asked.pods, number) for number in range(asked.rounds)]
            place = space(api, "handover")
            hand_over = handed_over(kube, place, folder, 5)
    found = {
        "pods": asked.pods,
        "at_a_time": AT_A_TIME,
        "rounds": rounds,
        "hand_over_s": hand_over,
        "load_before": load,
        "load_after": os.getloadavg(),
        "cpus": os.cpu_count(),
        "revision": revision(),
    }
    show(found)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


def space(api: Api, name: str) -> Place:
    """A namespace."""
    assert api.create("/api/v1/namespaces", {"metadata": {"name": name}}).ok
    return Place(api, name)


def one_round(kube: ControlPlane, api: Api, kubelet: Kubelet, folder: Path, pods: int, number: int) -> dict[str, Any]:
    """The bare loop, then the operator, on the same API server."""
    place = space(api, f"bare-{number}")
    assert api.create(place.path(SERVICE_ACCOUNTS), {"metadata": {"name": NAME}}).ok
    hold(kubelet, place, pods)
    found: dict[str, Any] = {"bare_creates_per_s": asyncio.run(bare(kube, place.namespace, pods, AT_A_TIME))}
    api.call("DELETE", place.path(PODS), {"gracePeriodSeconds": 0})
    until(lambda: not api.get(place.path(PODS)).body["items"], "the pods of the bare loop are gone")
    place = space(api, f"operator-{number}")
    with operator(kube.kubeconfig, folder, place.namespace, lease_namespace=place.namespace) as process:
        place.apply(cluster(replicas=0))
        until(place.settled, "a cluster without workers is ready")
        found |= scaled(kube, place, kubelet, process, pods)
        found |= at_rest(kube, process, 20.0)
        if number == 0:
            found |= with_more(kube, place, folder, process, pods)
        place.delete(CLUSTERS, NAME)
        until(place.gone, "all of it is gone", every_s=1.0)
    return found


def with_more(kube: ControlPlane, place: Place, folder: Path, process: Operator, pods: int) -> dict[str, Any]:
    """Memory with more and more pods, of instances that have done nothing else."""
    sizes = [FEWEST + step * pods for step in range(5)]
    seen: list[dict[str, int]] = []
    for size in sizes:
        place.apply(cluster(replicas=size - 1))  # the head is a pod too
        until(place.settled, f"{size} pods are ready", every_s=2.0)
        process.pause()
        each = [memory(kube, place, folder, size) for _ in range(STARTS)]
        process.resume()
        seen.append({name: min(one[name] for one in each) for name in each[0]})
    own = [one["own"] for one in seen]
    slope, base = statistics.linear_regression(sizes, own)
    return {
        "memory_pods": sizes,
        "memory_bytes": seen,
        "bytes_per_pod": slope,
        "bytes_without_pods": base,
        "bytes_off_the_line": max(abs(one - base - slope * size) for size, one in zip(sizes, own, strict=True)),
    }


def revision() -> str:
    """Of the checkout."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def show(found: dict[str, Any]) -> None:
    """The figures, each with its spread."""
    rounds = found["rounds"]

    def values(name: str) -> list[Any]:
        return [one[name] for one in rounds if name in one]

    rows = [
        ("creates/s, the API server alone", values("bare_creates_per_s")),
        ("creates/s, the operator", values("creates_per_s")),
        ("wish -> last pod made, s", values("all_made_s")),
        ("operator's CPU per pod made, ms", values("cpu_ms_per_pod_made")),
        ("operator's CPU per pod made and ready, ms", values("cpu_ms_per_pod_ready")),
        (f"operator's memory with {FEWEST} pods, MB", [one[0]["whole"] / 1e6 for one in values("memory_bytes")]),
        ("of it what it alone has, MB", [one[0]["own"] / 1e6 for one in values("memory_bytes")]),
        ("memory of each further pod, KB", [one / 1e3 for one in values("bytes_per_pod")]),
        ("a size that is off that line the most, MB", [one / 1e6 for one in values("bytes_off_the_line")]),
        ("CPU at rest, thousandths of a core", values("rest_millicores")),
        ("requests at rest, Leases aside, a minute", values("rest_requests_per_minute")),
        ("hand-over when told to end, s", found["hand_over_s"]),
    ]
    print(f"{found['pods']} pods, {found['at_a_time']} requests at a time")
    for title, each in rows:
        print(f"{title:45} {statistics.median(each):8.2f}   ({min(each):.2f} to {max(each):.2f}, {len(each)} times)")
    print(f"load {found['load_before'][0]:.1f} before, {found['load_after'][0]:.1f} after, {found['cpus']} CPUs")


if __name__ == "__main__":
    main()
