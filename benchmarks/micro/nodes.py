"""What a node costs control's memory: `python -m benchmarks.micro.nodes [NODES]`; goal 25 KB each.

`core`: control's tables, pictures and lines of so many nodes that have registered and report, in Python's own count.
`process`: a real control process over its Unix socket, each node on a connection of its own with its line open; its proportional
set size before and after. Most of that is gRPC's: a connection, and a stream on it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc.aio

from manta.control.model import Instant, Node, NodeId
from manta.control.nodes import NodeTable
from manta.control.orders import Line
from manta.control.services.cluster import ClusterTeller
from manta.control.stories import Stories
from manta.rpc.v1 import common_pb2, control_pb2_grpc
from manta.rpc.v1 import control_pb2 as cpb

REPORTS = 3


def total(number: int) -> dict[str, int]:
    """What a node of some size has."""
    return {
        "CPU": 64 * 10_000,
        "memory": 1 << 50,
        "object_store_memory": 1 << 48,
        f"node:10.0.{number >> 8}.{number & 255}": 10_000,
    }


def core(nodes: int) -> float:
    """Bytes per node of what control itself keeps."""
    stories = Stories()
    for _ in range(20_000):
        # The diary has its size whatever the number of nodes.
        stories.tell(0.0, "", "", b"")
    gc.collect()
    tracemalloc.start()
    table = NodeTable(stories)
    runner: Any = SimpleNamespace(state=SimpleNamespace(nodes=table, epoch=1), on_cluster=None)
    loop: Any = SimpleNamespace(call_later=lambda delay, call: None)
    teller = ClusterTeller(runner, loop)
    lines = []
    for number in range(nodes):
        node_id = NodeId(number.to_bytes(28, "big"))
        row = Node(node_id, f"10.0.0.1:{number}", door="10.0.0.1:7610", total=total(number), labels={"zone": "a"})
        table.register(row, dict(total(number)), Instant(0.0), [], "RegisterNode")
        lines.append((Line(lambda: None), teller.join(None, lambda: None)))
    for report in range(REPORTS):
        for number in range(nodes):
            free = {**total(number), "CPU": report}
            table.heartbeat(NodeId(number.to_bytes(28, "big")), report + 1, free, {"queued": 1}, Instant(1.0 + report))
    for _, told in lines:
        teller.take(told)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / nodes


def pss(pid: int) -> int:
    """Bytes of memory that are the process's own, shared pages shared out."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no Pss")


def process(nodes: int) -> tuple[float, int]:
    """Bytes per node of a real control process, and what it has without any."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as home:
        reading, writing = os.pipe()
        control = subprocess.Popen(
            [sys.executable, "-m", "manta.control", "--session-dir", home, "--ready-fd", str(writing)],
            pass_fds=[writing],
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.read() == b"\1"
        try:
            before = pss(control.pid)
            after = asyncio.run(joined(nodes, f"unix:{home}/control.sock", control.pid))
        finally:
            control.kill()
            control.wait()
        return (after - before) / nodes, before


async def joined(nodes: int, target: str, pid: int) -> int:
    """The control process's memory with so many nodes."""
    async with AsyncExitStack() as stack:
        for number in range(nodes):
            channel = grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
            await stack.enter_async_context(channel)
            await join(control_pb2_grpc.ControlServiceStub(channel), number)
        await asyncio.sleep(2.0)
        return pss(pid)


async def join(stub: Any, number: int) -> None:
    """One node registers, opens its line and reports."""
    node_id = number.to_bytes(28, "big")
    amounts = common_pb2.Resources(amounts=total(number))
    info = cpb.NodeInfo(
        node_id=node_id, raylet_target="unix:r", door="10.0.0.1:7610", total=amounts, labels={"zone": "a"}
    )
    await stub.RegisterNode(cpb.RegisterNodeRequest(request_id=os.urandom(16), node=info))
    line = stub.Attach()
    await line.write(cpb.AttachRequest(node_id=node_id))
    for report in range(REPORTS):
        beat = cpb.HeartbeatRequest(node_id=node_id, number=report + 1, available=amounts)
        await stub.Heartbeat(beat)
    lines.append(asyncio.create_task(_listen(line), name=f"line {number}"))


async def _listen(line: Any) -> None:
    try:
        while await line.read() is not grpc.aio.EOF:
            pass
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass  # it is over


#: Kept, so that they are not collected.
lines: list[asyncio.Task[None]] = []


def main() -> None:
    """Measure and print."""
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{nodes} nodes, KB per node (goal: 25)")
    print(f"{'core':<10} {core(nodes) / 1000:>8.1f}")
    each, before = process(nodes)
    print(f"{'process':<10} {each / 1000:>8.1f}   on top of {before / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
