"""A plain pod of the cluster's namespace that asks every port of its pods for everything there is, and shows nothing.

What there is comes from the descriptors and from the table of routes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import drivers, pods
from tests.support.surface import ENDLESS, filled, grpc_methods, http_routes

#: What each container listens at: gRPC that wants a certificate and a token, gRPC that wants a token, a channel that wants both,
#: pages and routes, health and numbers.
CONTROL, GATEWAY, DOOR, DASHBOARD = 7600, 7620, 7610, 8265
METRICS = {"raylet": 8090, "control": 8091, "gateway": 8092, "dashboard": 8093}
OF_HEAD = {CONTROL, GATEWAY, DOOR, DASHBOARD, *METRICS.values()}
OF_WORKER = {DOOR, METRICS["raylet"]}

WRONG = "0" * 43
_SHOWN = ("without a token", "with a wrong token")

#: Ports that a pod's containers listen at, of what they share: its network.
LISTENING = """
import json
found = set()
for table in ("tcp", "tcp6"):
    for line in open(f"/proc/net/{table}").readlines()[1:]:
        words = line.split()
        host, port = words[1].rsplit(":", 1)
        if words[3] == "0A" and host not in ("0100007F", "00000000000000000000000001000000"):
            found.add(int(port, 16))
print(json.dumps(sorted(found)))
"""

#: Runs in the pod: what to ask in ASK, one JSON line of answers out.
PROGRAM = """
import http.client, json, os, socket, ssl
os.environ["GRPC_VERBOSITY"] = "NONE"
import grpc
from manta.transport.tcp import Answer, Preamble, Wish

ask = json.loads(os.environ["ASK"])
context = ssl._create_unverified_context()


def read(name):
    return open(f"/etc/manta/worker/{name}", "rb").read()


def rpcs(host, role, shows, token):
    pair = (read("worker.key"), read("worker.crt")) if shows else ()
    credentials = grpc.ssl_channel_credentials(read("ca.crt"), *pair)
    options = [("grpc.ssl_target_name_override", f"{role}.{read('cluster').decode().strip()}.manta")]
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.secure_channel(f"{host}:{ask['ports'][role]}", credentials, options=options) as channel:
        for path, streams in ask["methods"]:
            try:
                if streams:
                    list(channel.stream_stream(path)(iter([b""]), metadata=metadata, timeout=10))
                else:
                    channel.unary_unary(path)(b"", metadata=metadata, timeout=10)
                yield path, "OK"
            except grpc.RpcError as error:
                yield path, error.code().name


def routes(host, port, secure, asked):
    for method, path, token, endless in asked:
        make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = make(host, port, timeout=10, **({"context": context} if secure else {}))
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        if not endless or answer.status != 200:
            answer.read()
        yield f"{method} {path}", answer.status
        connection.close()


def bytes_of(host, port, node, bare):
    "How much is said to who shows no certificate or, bare, speaks no TLS. A door wants to hear first which node is meant."
    try:
        with socket.create_connection((host, port), 10) as plain:
            if node and not bare:
                plain.sendall(Preamble(bytes.fromhex(node), wish=Wish.RAYLET).encode())
                assert plain.recv(1) == bytes([Answer.OK])
            with plain if bare else context.wrap_socket(plain) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n" * 64)
                said = stranger.recv(64)
                # TLS's alert, or the byte by which a door says no.
                return 0 if said[:1] == b"\\x15" or len(said) == 1 and said != bytes([Answer.OK]) else len(said)
    except OSError:  # the same, or the end: which of them comes first is the network's
        return 0


said, ports = {}, ask["ports"]
shown = (("without a token", ""), ("with a wrong token", ask["wrong"]))
for pod in ask["pods"]:
    here, host = said.setdefault(pod["name"], {}), pod["address"]
    for port, node in ((ports["door"], pod["node"]), (ports["control"], ""))[: 1 + pod["head"]]:
        here[f"{port} without a certificate"] = bytes_of(host, port, node, False)
        here[f"{port} without TLS"] = bytes_of(host, port, node, True)
    if pod["head"]:
        here["control without a certificate"] = dict(rpcs(host, "control", False, ""))
        for what, token in shown:
            here[f"control {what}"] = dict(rpcs(host, "control", True, token))
            here[f"gateway {what}"] = dict(rpcs(host, "gateway", False, token))
            asked = [(method, path, token, endless) for method, path, endless in ask["routes"]]
            here[f"dashboard {what}"] = dict(routes(host, ports["dashboard"], True, asked))
    for container, port in ports["metrics"].items():
        if pod["head"] or container == "raylet":
            for what, token in shown:
                asked = [("GET", path, token, False) for path in ("/healthz", "/readyz", "/metrics", "/")]
                here[f"{port} {what}"] = dict(routes(host, port, False, asked))
print(json.dumps(said))
"""


def pods_of(kubernetes: Cluster, namespace: str, cluster: str = "demo") -> dict[str, str]:
    """A cluster's pods by name, and their addresses."""
    found = kubernetes.get("pods", "--selector", f"manta.compute/cluster={cluster}", namespace=namespace)
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in found}


def ports_of(kubernetes: Cluster, namespace: str, pod: str) -> set[int]:
    """Where a pod listens for others."""
    command = ["exec", pod, "--container", "raylet", "--", "python", "-c", LISTENING]
    return set(json.loads(kubernetes.kubectl("--namespace", namespace, *command)))


def answers(kubernetes: Cluster, namespace: str, cluster: str, found: Mapping[str, str]) -> dict[str, Any]:
    """What a plain pod hears.

    Args:
        kubernetes: Where.
        namespace: Of the MantaCluster.
        cluster: Its name.
        found: What `pods_of` says.
    """
    nodes = _nodes(kubernetes, f"k8s://{namespace}/{cluster}")
    ask = {
        "pods": [
            {"name": name, "address": address, "head": name == f"{cluster}-head", "node": nodes[name]}
            for name, address in found.items()
        ],
        "wrong": WRONG,
        "methods": [(path, method.server_streaming) for path, method in sorted(grpc_methods().items())],
        "routes": [(method, filled(path), path in ENDLESS) for method, path in _routes()],
        "ports": {"metrics": METRICS, "control": CONTROL, "gateway": GATEWAY, "door": DOOR, "dashboard": DASHBOARD},
    }
    pod = pods.script("stranger", kubernetes.images.runtime, PROGRAM, env={"ASK": json.dumps(ask)})
    # For asking control without a token; without a certificate no method is even heard.
    items = [{"key": key, "path": key} for key in ("ca.crt", "cluster", "worker.crt", "worker.key")]
    pod["spec"]["volumes"].append({"name": "worker", "secret": {"secretName": f"{cluster}-join", "items": items}})
    [container] = pod["spec"]["containers"]
    container["volumeMounts"].append({"name": "worker", "mountPath": "/etc/manta/worker", "readOnly": True})
    said: dict[str, Any] = json.loads(pods.run(kubernetes, pod, namespace))
    return said


def refusals(cluster: str, names: Collection[str]) -> dict[str, Any]:
    """What one has to hear."""
    methods, routes = sorted(grpc_methods()), [f"{method} {filled(path)}" for method, path in _routes()]
    refused = dict.fromkeys(methods, "UNAUTHENTICATED")
    # It has one service, and says so of the others to whoever asks.
    at_gateway = {path: "UNAUTHENTICATED" if "GatewayService" in path else "UNIMPLEMENTED" for path in methods}
    door = _nothing(DOOR)
    numbers = {"GET /healthz": 200, "GET /readyz": 200, "GET /metrics": 401, "GET /": 404}
    of_head = {
        **door,
        **_nothing(CONTROL),
        "control without a certificate": dict.fromkeys(methods, "UNAVAILABLE"),
        "control without a token": refused,
        "control with a wrong token": refused,
        "gateway without a token": at_gateway,
        "gateway with a wrong token": at_gateway,
        "dashboard without a token": dict.fromkeys(routes, 401),
        "dashboard with a wrong token": dict.fromkeys(routes, 401),
        **{f"{port} {what}": numbers for port in METRICS.values() for what in _SHOWN},
    }
    of_worker = {**door, **{f"{METRICS['raylet']} {what}": numbers for what in _SHOWN}}
    return {name: of_head if name == f"{cluster}-head" else of_worker for name in names}


def _nothing(port: int) -> dict[str, int]:
    """Bytes that are said to who shows no certificate."""
    return {f"{port} without a certificate": 0, f"{port} without TLS": 0}


def _nodes(kubernetes: Cluster, address: str) -> dict[str, str]:
    """Ids of nodes by the names of their pods: the stranger knows them."""
    command = ["-m", "manta.cli", "list", "nodes", "--address", address, "-o", "json"]
    said = json.loads(drivers.run(command, {"KUBECONFIG": str(kubernetes.kubeconfig)}))
    return {node["node_name"]: node["node_id"] for node in said if node["state"] == "ALIVE"}


def _routes() -> list[tuple[str, str]]:
    """Those that want somebody; the others are where one signs in."""
    return [key for key, route in sorted(http_routes().items()) if route.role is not None]
