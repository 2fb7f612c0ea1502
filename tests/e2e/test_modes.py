"""Clusters that are not as they come: open to all and without TLS, and with an authority and tokens of their owner's."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import charts, drivers, jobs, pods
from tests.support.waiting import wait_until

#: Of a program for a cluster that asks for nothing.
OPEN = {"MANTA_TLS": "0", "MANTA_AUTH": "none"}
ROLES = ("viewer", "submitter", "admin", "join")


def _values(**more: Any) -> dict[str, Any]:
    [(group, spec)] = charts.SMALL["workerGroups"].items()
    return {**charts.SMALL, "workerGroups": {group: {**spec, "replicas": 1}}, **more}


def _right(said: str) -> bool:
    return said.strip().splitlines()[-1] == drivers.RIGHT


@pytest.fixture(scope="module")
def open_to_all(operator: Cluster, namespace: str) -> Iterator[str]:
    """Without tokens and TLS; its name."""
    values = _values(auth={"mode": "none"}, tls={"enabled": False})
    with charts.manta_cluster(operator, namespace, "open", values) as name:
        yield name


def _nodes(operator: Cluster, address: str) -> set[str]:
    listed = drivers.run(
        ["-m", "manta.cli", "list", "nodes", "--address", address, "--filter", "state=ALIVE", "-o", "json"],
        {"KUBECONFIG": str(operator.kubeconfig)},
    )
    return {node["node_name"] for node in json.loads(listed)}


def test_an_open_cluster_takes_drivers_from_everywhere(operator: Cluster, namespace: str, open_to_all: str):
    """By the kubeconfig, by a forwarded port, in a pod, and as a job: no token, no authority, no Secret."""
    kubeconfig = {"KUBECONFIG": str(operator.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/{open_to_all}"}
    assert _right(drivers.run(["-c", drivers.PROGRAM], kubeconfig))

    with operator.forwarded(f"service/{open_to_all}-gateway", drivers.GATEWAY_PORT, namespace=namespace) as port:
        assert _right(drivers.run(["-c", drivers.PROGRAM], {**OPEN, "MANTA_ADDRESS": f"manta://127.0.0.1:{port}"}))

    inside = {**OPEN, "MANTA_ADDRESS": f"manta://{open_to_all}-gateway.{namespace}.svc:{drivers.GATEWAY_PORT}"}
    pod = pods.script("driver", operator.images.runtime, drivers.PROGRAM, env=inside)
    assert _right(pods.run(operator, pod, namespace))

    program = drivers.PROGRAM.replace("'", '"')
    status = jobs.run_manta_job(
        operator, "open", {"entrypoint": f"python -c '{program}'"}, namespace, cluster=open_to_all
    )
    assert ("Succeeded", 0) == (status["phase"], status["exitCode"]), status
    assert drivers.RIGHT in status["logTail"]


def test_a_node_of_an_open_cluster_is_drained_by_the_operator(operator: Cluster, namespace: str, open_to_all: str):
    """Which has what a stranger has not: the cluster gets smaller in good order."""
    address = f"k8s://{namespace}/{open_to_all}"
    assert f"{open_to_all}-workers-0" in _nodes(operator, address)

    smaller = [{"op": "replace", "path": "/spec/workerGroups/0/replicas", "value": 0}]
    operator.kubectl(
        "--namespace", namespace, "patch", "mantacluster", open_to_all, "--type=json", "--patch", json.dumps(smaller)
    )

    wait_until(lambda: _nodes(operator, address) == {f"{open_to_all}-head"}, timeout_s=90, what="the worker left")
    events = operator.get("events", namespace=namespace)
    assert [one["message"] for one in events if one["type"] == "Warning" and one["reason"].startswith("Drain")] == []


def _authority(folder: Path) -> tuple[bytes, bytes]:
    """A company's own that ends soon, as `openssl` makes one: certificate and key."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "20", "-subj", "/O=Acme/CN=Acme Root",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", folder / "key.pem", "-out", folder / "certificate.pem",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return (folder / "certificate.pem").read_bytes(), (folder / "key.pem").read_bytes()


def _secret(name: str, namespace: str, data: dict[str, bytes], kind: str = "Opaque") -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name, "namespace": namespace},
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }  # fmt: skip


def test_a_cluster_with_its_owners_authority_and_tokens(operator: Cluster, namespace: str, tmp_path: Path):
    certificate, key = _authority(tmp_path)
    tokens = {role: secrets.token_hex(32) for role in ROLES}
    operator.apply(
        _secret("acme", namespace, {"tls.crt": certificate, "tls.key": key}, "kubernetes.io/tls"),
        _secret("tokens", namespace, {role: token.encode() for role, token in tokens.items()}),
    )
    values = _values(auth={"existingSecret": "tokens"}, tls={"existingSecret": "acme", "extraSANs": ["127.0.0.1"]})

    # Applied beside its cluster, as from one folder of manifests: it waits for the Secret, and then for the gateway.
    early = pods.script("early", operator.images.runtime, drivers.PROGRAM, env={"MANTA_CLUSTER_WAIT_S": "180"})
    early = drivers.inside(early, namespace, "owned")
    with ThreadPoolExecutor(1) as beside:
        said = beside.submit(jobs.run_kubernetes_job, operator, early, namespace, timeout_s=240)
        wait_until(lambda: operator.get("jobs", namespace=namespace), timeout_s=60, what="the job is there")
        with charts.manta_cluster(operator, namespace, "owned", values) as name:
            assert _right(said.result())
            status = operator.get("mantacluster", name, namespace=namespace)["status"]
            [degraded] = [one for one in status["conditions"] if one["type"] == "Degraded"]
            assert ("True", "AuthorityExpiring") == (degraded["status"], degraded["reason"]), (
                "and Ready it is all the same"
            )
            assert _nodes(operator, f"k8s://{namespace}/{name}") == {f"{name}-head", f"{name}-workers-0"}
            kubeconfig = {"KUBECONFIG": str(operator.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/{name}"}
            assert _right(drivers.run(["-c", drivers.PROGRAM], kubeconfig))
            with operator.forwarded(f"service/{name}-gateway", drivers.GATEWAY_PORT, namespace=namespace) as port:
                theirs = {
                    "MANTA_ADDRESS": f"manta://127.0.0.1:{port}",
                    "MANTA_CA_FILE": str(tmp_path / "certificate.pem"),
                    "MANTA_TOKEN": tokens["submitter"],
                }
                assert _right(drivers.run(["-c", drivers.PROGRAM], theirs))
