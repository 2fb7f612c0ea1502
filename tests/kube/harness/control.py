"""Stands in for the control of clusters whose pods nobody runs: it knows their nodes, tells of changes, and drains.

Each listens where the operator looks for it, at its head pod's address, with the credentials that the operator has made: a
mistake in those is seen here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc.aio

from manta.core.errors import MantaError
from manta.rpc.v1 import control_pb2 as pb
from manta.rpc.v1 import control_pb2_grpc
from manta.transport import grpc as transport
from manta.transport import status
from manta.transport.tls import TlsFiles

PORT = 7600


class DrainRefusedError(MantaError):
    """As control says it."""

    code = "DRAIN_REFUSED"

    def __init__(self, why: str = "") -> None:
        self.why = why
        super().__init__(why)

    def __str__(self) -> str:
        return self.why


class NodeNotFoundError(MantaError):
    """As control says it."""

    code = "NODE_NOT_FOUND"

    def __str__(self) -> str:
        return "no such node"


class StandInControl(control_pb2_grpc.ControlServiceServicer):
    """One cluster's.

    Attributes:
        drains: Each drain that was asked for: the pod's name.
        holds: Names of pods whose drain does not end before they are taken out of here.
        refuses: Names of pods that it does not drain.
        silent: It answers nothing, and its connections stay open.
    """

    def __init__(self) -> None:
        self.drains: list[str] = []
        self.holds: set[str] = set()
        self.refuses: set[str] = set()
        self.silent = False
        self._nodes: dict[bytes, pb.NodeInfo] = {}
        self._watchers: set[asyncio.Queue[pb.NodeInfo]] = set()
        self.server: grpc.aio.Server | None = None

    async def ListNodes(self, request: pb.ListNodesRequest, context: Any) -> pb.ListNodesResponse:
        return pb.ListNodesResponse(nodes=self._nodes.values())

    async def GetDemand(self, request: pb.GetDemandRequest, context: Any) -> pb.GetDemandResponse:
        return pb.GetDemandResponse()

    async def DrainNode(self, request: pb.DrainNodeRequest, context: Any) -> pb.DrainNodeResponse:
        node = self._nodes.get(request.node_id)
        if self.silent:
            await asyncio.Event().wait()
        if node is None:
            await status.abort(context, NodeNotFoundError())
            raise AssertionError("aborted")
        if node.name in self.refuses:
            await status.abort(context, DrainRefusedError(f"nobody else takes the work of {node.name}"))
        self.drains.append(node.name)
        node.drain.deadline_unix_ms = int(time.time() * 1000) + request.grace_ms
        self._change(node, drain=pb.DRAIN_STATE_DRAINING)
        if node.name not in self.holds:
            self._change(self._nodes[request.node_id], drain=pb.DRAIN_STATE_DRAINED, state=pb.NODE_STATE_DEAD)
        return pb.DrainNodeResponse(drain=self._nodes[request.node_id].drain)

    async def Watch(self, requests: Any, context: Any) -> Any:
        if self.silent:
            await asyncio.Event().wait()
        changes: asyncio.Queue[pb.NodeInfo] = asyncio.Queue()
        self._watchers.add(changes)
        number = 0

        def numbered(response: pb.WatchResponse) -> pb.WatchResponse:
            nonlocal number
            response.previous = number
            number += 1
            response.position.number = number
            return response

        try:
            for node in list(self._nodes.values()):
                yield numbered(pb.WatchResponse(node=node))
            yield numbered(pb.WatchResponse(ready=pb.WatchReady()))
            while True:
                yield numbered(pb.WatchResponse(node=await changes.get()))
        finally:
            self._watchers.discard(changes)

    def joined(self, pod: dict[str, Any], *, head: bool) -> None:
        """The raylet of a pod has registered."""
        metadata = pod["metadata"]
        node_id = hashlib.sha224(metadata["uid"].encode()).digest()
        known = self._nodes.get(node_id)
        if known is not None and known.state == pb.NODE_STATE_ALIVE:
            return
        labels = {
            "manta.compute/pod-uid": metadata["uid"],
            "manta.compute/pod-name": metadata["name"],
            "manta.compute/group": (metadata.get("labels") or {}).get("manta.compute/group", ""),
        }
        info = pb.NodeInfo(node_id=node_id, name=metadata["name"], state=pb.NODE_STATE_ALIVE, labels=labels, head=head)
        info.total.amounts["CPU"] = 10_000
        self._tell(info)

    def left(self, uid: str) -> None:
        """A pod is gone, and its raylet with it."""
        node = self._nodes.get(hashlib.sha224(uid.encode()).digest())
        if node is not None and node.state != pb.NODE_STATE_DEAD:
            self._change(node, state=pb.NODE_STATE_DEAD)

    def finish(self, name: str) -> None:
        """A drain that was held ends."""
        self.holds.discard(name)
        for node in list(self._nodes.values()):
            if node.name == name and node.drain.state == pb.DRAIN_STATE_DRAINING:
                self._change(node, drain=pb.DRAIN_STATE_DRAINED, state=pb.NODE_STATE_DEAD)

    def _change(self, node: pb.NodeInfo, *, state: int = 0, drain: int = 0) -> None:
        changed = pb.NodeInfo()
        changed.CopyFrom(node)
        if state:
            changed.state = state  # type: ignore[assignment]
        if drain:
            changed.drain.state = drain  # type: ignore[assignment]
        self._tell(changed)

    def _tell(self, node: pb.NodeInfo) -> None:
        self._nodes[node.node_id] = node
        for changes in self._watchers:
            changes.put_nowait(node)


class StandInControls:
    """Those of all clusters, in a thread of their own: `with StandInControls(folder) as controls`.

    Args:
        folder: For credentials.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stand-in controls", daemon=True)
        #: By the cluster's UID.
        self._controls: dict[str, StandInControl] = {}

    def __enter__(self) -> StandInControls:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for uid in list(self._controls):
            self.stop(uid)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def of(self, uid: str) -> StandInControl:
        """A cluster's; it need not listen yet."""
        return self._controls.setdefault(uid, StandInControl())

    def start(self, uid: str, address: str, secret: dict[str, str]) -> None:
        """Listen, with the content of the head's Secret."""
        folder = self._folder / uid
        folder.mkdir(exist_ok=True)
        for name, content in secret.items():
            (folder / name).write_bytes(base64.b64decode(content))
        token = (folder / "join.token").read_text().split()
        self._run(self._start(uid, address, folder, token))

    def stop(self, uid: str) -> None:
        """Listen no more; what it knows stays, as on a volume."""
        self._run(self._stop(uid))

    def do(self, what: Callable[[], None]) -> None:
        """Run something in the thread."""

        async def run() -> None:
            what()

        self._run(run())

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        future.result(30.0)

    async def _start(self, uid: str, address: str, folder: Path, tokens: list[str]) -> None:
        control = self.of(uid)
        if control.server is not None:
            return
        server = transport.server(tokens)
        control_pb2_grpc.add_ControlServiceServicer_to_server(control, server)
        if (folder / "control.crt").exists():
            cluster = (folder / "cluster").read_text().strip()
            credentials = transport.server_credentials(TlsFiles.of_role(str(folder), "control", cluster))
            server.add_secure_port(f"{address}:{PORT}", credentials)
        else:
            server.add_insecure_port(f"{address}:{PORT}")
        await server.start()
        control.server = server

    async def _stop(self, uid: str) -> None:
        control = self.of(uid)
        server, control.server = control.server, None
        if server is not None:
            await server.stop(None)
