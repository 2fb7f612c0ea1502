"""What a driver outside pays for Kubernetes' port-forward: `python -m benchmarks.kubernetes.forwarding`.

The same driver beside itself: by the gateway's own address, and by k8s:// through an API server. Without arguments that server is
the tests' stand-in, in a process of its own: it has no more to do for a byte than a real one, and is Python where that is Go.
With `--forwarded k8s://NS/NAME --direct manta://HOST:PORT` (and KUBECONFIG, MANTA_TOKEN, MANTA_CA_FILE) it is a real one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.support import gateway, kube_api

ROUNDS = 3

#: Runs as a driver: an address in, a JSON object of figures out.
DRIVER = """
import json, os, sys, time
import manta
began = time.perf_counter()
manta.init(sys.argv[1], log_to_driver=False)
joined = time.perf_counter() - began


@manta.remote
def same(x):
    return x


@manta.remote
class Actor:
    def same(self, x):
        return x


def rate(work, seconds=1.5):
    work()
    count, end = 0, time.perf_counter() + seconds
    began = time.perf_counter()
    while time.perf_counter() < end:
        count += work()
    return count / (time.perf_counter() - began)


def one_task():
    manta.get(same.remote(1))
    return 1


actor = Actor.remote()


def one_call():
    manta.get(actor.same.remote(1))
    return 1


def thousand():
    manta.get([same.remote(1) for _ in range(1000)])
    return 1000


size = 100 << 20
value = os.urandom(1 << 20) * 100
seconds = []
for _ in range(3):
    began = time.perf_counter()
    ref = manta.put(value)
    put = time.perf_counter()
    assert len(manta.get(ref)) == size
    seconds.append((put - began, time.perf_counter() - put))
    del ref
print(json.dumps({
    "join, ms": 1000 * joined,
    "calls of a task, one by one, per s": rate(one_task),
    "calls of an actor, one by one, per s": rate(one_call),
    "tasks, a thousand at a time, per s": rate(thousand),
    "put of 100 MB, MB/s": 100 / min(put for put, _ in seconds),
    "get of 100 MB, MB/s": 100 / min(get for _, get in seconds),
}))
"""


@contextlib.contextmanager
def own() -> Iterator[tuple[str, str]]:
    """A cluster of one node with its gateway, and a stand-in for an API server; both addresses."""
    with (
        tempfile.TemporaryDirectory(prefix="mf-", dir="/tmp") as folder,
        gateway.cluster(Path(folder), store_bytes=500 << 20, name=kube_api.UID) as door,
    ):
        os.environ |= {name: text for name, text in door.environment.items() if name != "MANTA_ADDRESS"}
        command = [
            sys.executable,
            "-m",
            "benchmarks.kubernetes.forwarding",
            "--serve",
            folder,
            str(door.port),
            door.submitter,
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            os.environ["KUBECONFIG"] = server.stdout.readline().strip()
            yield door.address, f"k8s://{kube_api.NAMESPACE}/{kube_api.NAME}"
            server.stdin.close()


def serve(folder: Path, port: int, token: str) -> None:
    """The stand-in, until standard input ends."""
    with kube_api.running(folder, {7620: port}) as api:
        api.put_cluster(kube_api.available(), token=token, authority=(folder / "ca.pem").read_bytes())
        print(api.kubeconfig(), flush=True)
        sys.stdin.read()


def measured(
    address: str,
    environment: Mapping[str, str] | None = None,
    inside: Callable[[Sequence[str]], list[str]] = list,
) -> dict[str, float]:
    """One driver's figures.

    Args:
        address: By which it joins.
        environment: Its; None for ours.
        inside: Its command, from the command itself: where it runs.
    """
    command = inside([sys.executable, "-c", DRIVER, address])
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure and print, side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--direct", help="manta://HOST:PORT")
    parser.add_argument("--forwarded", help="k8s://NAMESPACE/NAME")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", metavar="FILE", help="also write every round's figures there")
    parser.add_argument("--serve", nargs=3, metavar=("FOLDER", "PORT", "TOKEN"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        serve(Path(flags.serve[0]), int(flags.serve[1]), flags.serve[2])
        return
    given = contextlib.nullcontext((flags.direct, flags.forwarded)) if flags.direct and flags.forwarded else own()
    with given as ways:
        rounds = [[measured(address) for address in ways] for _ in range(flags.rounds)]
    if flags.json:
        Path(flags.json).write_text(
            json.dumps([dict(zip(("direct", "forwarded"), pair, strict=True)) for pair in rounds], indent=1)
        )
    print(f"{'median of ' + str(flags.rounds):40}{'direct':>10}{'forwarded':>12}{'ratio':>8}")
    for name in rounds[0][0]:
        direct, forwarded = (statistics.median(pair[side][name] for pair in rounds) for side in (0, 1))
        print(f"{name:40}{direct:10.0f}{forwarded:12.0f}{forwarded / direct:8.2f}")


if __name__ == "__main__":
    main()
