"""A stand-in for a Kubernetes API server, in a thread: a few objects to read, and ports of pods that are forwarded for real.

It speaks what an API server and a kubelet speak to `pods/portforward` (`v4.channel.k8s.io`), and does what networks do to it when
a test says so. `tests/kube` asks a real one about everything but ports, and `tests/e2e` a whole cluster.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from tests.kube.harness.certificates import Authority
from tests.support.kubeconfigs import write_kubeconfig

NAMESPACE, NAME, UID = "default", "demo", "0a1b2c3d-0000-4000-8000-00000000demo"
TOKEN = "t0ken"
CLUSTERS = "/apis/manta.compute/v1alpha1/namespaces/{}/mantaclusters"


def condition(kind: str, status: str, reason: str = "Reason", message: str = "") -> dict[str, str]:
    """Of a status."""
    return {"type": kind, "status": status, "reason": reason, "message": message}


def available() -> list[dict[str, str]]:
    """Conditions of a cluster that takes drivers."""
    return [condition("Available", "True", "HeadServes")]


@dataclass
class Faults:
    """What happens to requests from now on.

    Attributes:
        forbidden: Paths that match are forbidden.
        broken: Paths that match are answered with this status.
        latency_s: What a port's bytes take, each way.
    """

    forbidden: str = ""
    broken: dict[str, int] | None = None
    latency_s: float = 0.0


class KubeApi:
    """A running one.

    Attributes:
        objects: What can be read, by path; a list by the path of its folder.
        ports: Where the ports of pods really are, on this machine; a port that is missing refuses.
        tokens: Who is let in.
        faults: What goes wrong.
        requests: Paths that were asked for, with their queries.
        url: Its address.
    """

    def __init__(self, folder: Path, ports: dict[int, int]) -> None:
        self.folder, self.ports = folder, ports
        self.objects: dict[str, dict[str, Any]] = {}
        self.tokens = {TOKEN}
        self.faults = Faults()
        self.requests: list[str] = []
        self.url = ""
        self.authority = Authority(folder / "kube")
        self._open: set[web.WebSocketResponse] = set()
        self._transports: set[asyncio.BaseTransport] = set()
        begun: Future[asyncio.AbstractEventLoop] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(begun)), name="kube-api")
        self._thread.start()
        self._loop = begun.result(30)

    # -- what is there

    def put_cluster(
        self, conditions: list[dict[str, str]], *, token: str, authority: bytes, admin: str = "", **spec: Any
    ) -> None:
        """A MantaCluster with its Secrets and its head's pod; `admin` is the token of the administrator's, if there is one."""
        folder = CLUSTERS.format(NAMESPACE)
        cluster = {
            "metadata": {"name": NAME, "namespace": NAMESPACE, "uid": UID},
            "spec": spec,
            "status": {"conditions": conditions},
        }
        self.objects[f"{folder}/{NAME}"] = cluster
        self.objects[folder] = {"items": [cluster, {"metadata": {"name": "other"}}]}
        for role, shown in (("submitter", token), ("viewer", token), ("admin", admin)):
            if not shown:
                continue
            self.objects[f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME}-{role}"] = {
                "data": {
                    "token": base64.b64encode(shown.encode()).decode(),
                    "ca.crt": base64.b64encode(authority).decode(),
                }
            }
        self.put_head(f"{NAME}-head")

    def put_head(self, *names: str) -> None:
        """The head's pods: those of these names run, and there is no other."""
        self.objects[f"/api/v1/namespaces/{NAMESPACE}/pods"] = {
            "items": [
                {
                    "metadata": {"name": name, "ownerReferences": [{"uid": UID, "controller": True}]},
                    "status": {"phase": "Running", "conditions": [condition("Ready", "True")]},
                }
                for name in names
            ]
        }

    def kubeconfig(self, *, user: dict[str, Any] | None = None, **cluster: Any) -> Path:
        """A kubeconfig that leads here; `user` and `cluster` replace or add fields."""
        there = {
            "server": self.url,
            "certificate-authority": str(self.authority.certificate),
            **{name.replace("_", "-"): value for name, value in cluster.items()},
        }
        shown = {"token": TOKEN} if user is None else user
        return write_kubeconfig(self.folder / "kubeconfig", there, shown, name="jane", namespace=NAMESPACE)

    # -- what happens to it

    @property
    def connections(self) -> int:
        """WebSockets that are open."""
        return len(self._open)

    def cut(self) -> None:
        """End every WebSocket as a dead machine does: without a word."""

        def abort() -> None:
            for transport in list(self._transports):
                transport.abort()  # type: ignore[attr-defined]

        self._loop.call_soon_threadsafe(abort)

    def stall(self, over: threading.Event) -> None:
        """It does nothing at all until that is set."""
        stalled = threading.Event()

        def wait() -> None:
            stalled.set()
            over.wait(60)

        self._loop.call_soon_threadsafe(wait)
        stalled.wait(30)

    def forwards(self) -> list[str]:
        """Pods whose ports were asked for, in order."""
        return [found[1] for path in self.requests if (found := re.search(r"/pods/([^/]+)/portforward", path))]

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive(), "it does not end"

    # -- in its thread

    async def _main(self, begun: Future[asyncio.AbstractEventLoop]) -> None:
        certificate, key = self.authority.identity("apiserver", "kube-apiserver", (), ["127.0.0.1", "api.test"])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.authority.certificate))
        context.load_cert_chain(certificate, key)
        context.verify_mode = ssl.CERT_OPTIONAL
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        begun.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        # Without TLS's farewells, which would be waited for: what is open when the loop ends stays open.
        server = runner.server
        assert server is not None
        for one in list(server.connections):
            if one.transport is not None:
                one.transport.abort()
        await runner.cleanup()
        for _ in range(100):  # rounds of the loop: no time, which a busy machine may not give it
            await asyncio.sleep(0)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path_qs)
        peer = request.transport.get_extra_info("peercert") if request.transport is not None else None
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not peer and shown not in self.tokens:
            return _status(401, "Unauthorized", "Unauthorized")
        for pattern, status in (self.faults.broken or {}).items():
            if re.search(pattern, request.path):
                return _status(status, "Broken", "as the test wants it")
        if self.faults.forbidden and re.search(self.faults.forbidden, request.path):
            what = request.path.rstrip("/").split("/")[-2:]
            return _status(403, "Forbidden", f'{what[0]} "{what[1]}" is forbidden: User "jane" cannot get resource')
        if request.path.endswith("/portforward"):
            if request.headers.get("Accept", "*/*") != "*/*":
                return web.Response(status=406)  # as a real one does, without a word
            return await self._forward(request)
        found = self.objects.get(request.path)
        if found is None:
            *_, kind, name = request.path.split("/")
            known = "mantaclusters" in request.path and CLUSTERS.format(NAMESPACE) in self.objects
            known = known or kind in ("secrets", "pods")
            details = {"name": name, "kind": kind} if known else {}
            return _status(404, "NotFound", f'{kind} "{name}" not found', details)
        return web.json_response(found)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Accept", "*/*") != "*/*":
            return web.Response(status=406, text="406: Not Acceptable")  # as kubelets do
        port = int(request.query["ports"])
        pod = request.path.split("/")[-2]
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",), compress=False, max_msg_size=32 << 20)
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        self._open.add(socket)
        self._transports.add(transport)
        try:
            for channel in (b"\0", b"\1"):
                await socket.send_bytes(channel + port.to_bytes(2, "little"))
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[port], limit=1 << 20)
            except (OSError, KeyError):
                text = f"error forwarding port {port} to pod {pod}, uid : dial tcp4 127.0.0.1:{port}: connect: connection refused"
                await socket.send_bytes(b"\1" + text.encode())
                return socket
            try:
                await self._carry(socket, reader, writer)
            finally:
                writer.close()
        except (OSError, RuntimeError):
            pass
        finally:
            self._open.discard(socket)
            self._transports.discard(transport)
            with suppress(OSError, RuntimeError):
                await socket.close()
        return socket

    async def _carry(
        self, socket: web.WebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Until one side has said all; as a kubelet, which knows no half-closed connections."""

        async def inward() -> None:
            async for message in socket:
                assert message.type is WSMsgType.BINARY
                assert message.data[:1] == b"\0"
                await self._late()
                writer.write(message.data[1:])
                await writer.drain()

        async def outward() -> None:
            while data := await reader.read(32 << 10):
                await self._late()
                await socket.send_bytes(b"\0" + data)

        tasks = [asyncio.ensure_future(inward()), asyncio.ensure_future(outward())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _late(self) -> None:
        if self.faults.latency_s:
            await asyncio.sleep(self.faults.latency_s)


def _status(code: int, reason: str, message: str, details: dict[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response({**body, "details": details or {}}, status=code)


@contextmanager
def running(folder: Path, ports: dict[int, int]) -> Iterator[KubeApi]:
    """One for the block."""
    api = KubeApi(folder, ports)
    try:
        yield api
    finally:
        api.close()
