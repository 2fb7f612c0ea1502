"""Drivers of a MantaCluster: programs outside that come through the gateway, and what one inside is given."""

from __future__ import annotations

import base64
import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.harness.cluster import Cluster, CommandError

ROOT = Path(__file__).resolve().parents[3]
#: Where a pod has the Secret of a role.
MOUNTED = "/etc/manta/submitter"
GATEWAY_PORT = 7620

#: A driver that says what it got: one task on each CPU of the cluster, an actor, an object.
PROGRAM = """
import manta

manta.init()


@manta.remote
def square(x):
    return x * x


@manta.remote
class Counter:
    def __init__(self):
        self.total = 0

    def add(self, x):
        self.total += x
        return self.total


counter = Counter.remote()
print(manta.get([square.remote(i) for i in range(8)]), manta.get(counter.add.remote(manta.put(3))))
"""
RIGHT = "[0, 1, 4, 9, 16, 25, 36, 49] 3"

#: A driver that computes what it is asked, one expression a line, and answers with one line.
LIVE = """
import os, sys, time
import manta

manta.init(namespace="e2e", log_to_driver=False)


@manta.remote(num_cpus=1, max_retries=5)
def square(x, seconds=0.0):
    time.sleep(seconds)
    return x * x


@manta.remote(num_cpus=1)
def length(value, seconds=0.0):
    time.sleep(seconds)
    return len(value)


@manta.remote(num_cpus=0)
def hog(size):
    return len(bytearray(os.urandom(1 << 20) * (size >> 20)))


@manta.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)
class Counter:
    def __init__(self):
        self.total = 0

    def add(self, x):
        self.total += x
        return self.total


def alive():
    return sorted(node["NodeName"] for node in manta.nodes() if node["Alive"])


print("ready", flush=True)
for line in sys.stdin:
    try:
        print(repr(eval(line)), flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}".replace(chr(10), " "), flush=True)
"""


class LiveDriver:
    """A driver that is asked."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, expression: str, *, timeout_s: float = 90.0) -> str:
        """What an expression is; of an error its class and text."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{expression}\n")
        self._process.stdin.flush()
        return self.heard(timeout_s)

    def heard(self, timeout_s: float) -> str:
        """The next line."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise AssertionError(f"the driver said nothing for {timeout_s:g} s")
        line = self._process.stdout.readline()
        assert line, f"the driver ended with status {self._process.wait()}"
        return line.rstrip("\n")


@contextlib.contextmanager
def live(environment: Mapping[str, str]) -> Iterator[LiveDriver]:
    """A driver on this machine for a block."""
    path = os.pathsep.join((str(ROOT / "runtime"), str(ROOT / "operator")))
    whole = {**os.environ, "PYTHONPATH": path, **environment}
    with subprocess.Popen(
        [sys.executable, "-u", "-c", LIVE], env=whole, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            driver = LiveDriver(process)
            assert driver.heard(60.0) == "ready"
            yield driver
        finally:
            process.kill()


@contextlib.contextmanager
def outside(
    kubernetes: Cluster, namespace: str, name: str = "demo", role: str = "submitter"
) -> Iterator[dict[str, str]]:
    """The environment of a driver on this machine, as the documents say: a forwarded port, a token, the authority."""
    secret = kubernetes.get("secret", f"{name}-{role}", namespace=namespace)["data"]
    folder = kubernetes.folder / f"{namespace}-{name}-{role}"
    folder.mkdir(exist_ok=True)
    for key in ("ca.crt", "token"):
        path = folder / key
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(secret[key]))
    with kubernetes.forwarded(f"service/{name}-gateway", GATEWAY_PORT, namespace=namespace) as port:
        yield {
            "MANTA_ADDRESS": f"manta://127.0.0.1:{port}",
            "MANTA_CA_FILE": str(folder / "ca.crt"),
            "MANTA_TOKEN_FILE": str(folder / "token"),
        }


def run(arguments: Sequence[str], environment: Mapping[str, str], *, timeout_s: float = 120.0) -> str:
    """Run a Python program on this machine; what it printed."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "runtime"), str(ROOT / "operator")))
    done = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CommandError(f"the driver ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def inside(pod: dict[str, Any], namespace: str, name: str = "demo", role: str = "submitter") -> dict[str, Any]:
    """A pod as `pods.script` makes it, given what a plain `manta.init()` needs."""
    [container] = pod["spec"]["containers"]
    container["env"] += [
        {"name": "MANTA_ADDRESS", "value": f"manta://{name}-gateway.{namespace}.svc:{GATEWAY_PORT}"},
        {"name": "MANTA_CA_FILE", "value": f"{MOUNTED}/ca.crt"},
        {"name": "MANTA_TOKEN_FILE", "value": f"{MOUNTED}/token"},
    ]
    container["volumeMounts"].append({"name": "submitter", "mountPath": MOUNTED, "readOnly": True})
    # Read by the pod's user alone: a token that others may read is refused.
    secret = {"secretName": f"{name}-{role}", "defaultMode": 0o440}
    pod["spec"]["volumes"].append({"name": "submitter", "secret": secret})
    pod["spec"]["securityContext"].update(runAsUser=65532, runAsGroup=65532, fsGroup=65532)
    return pod
