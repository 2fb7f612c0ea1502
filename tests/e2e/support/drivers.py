"""Drivers of a MantaCluster: programs outside that come through the gateway, and what one inside is given."""

from __future__ import annotations

import base64
import contextlib
import os
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
