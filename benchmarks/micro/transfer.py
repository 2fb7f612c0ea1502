"""How fast objects go from node to node on loopback: `python -m benchmarks.micro.transfer [MiB] [tls]`.

Each node is a process with a real store and a real door. Rows: one copy, copies at the same time to four nodes (a chain), and
many small objects. On two cores a broadcast to four shares them among four senders and four receivers.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.certificates import Role, make_authority, make_leaf, write_pair
from manta.transport.tls import Tls, TlsFiles
from tests.support.stores import MIB, Process, StoreNode


def node(pipe: Any, capacity: int, files: tuple[str, str, str, str] | None) -> None:
    """One node: does what the pipe says."""
    asyncio.run(_node(pipe, capacity, Tls(TlsFiles(*files)) if files else None))


async def _node(pipe: Any, capacity: int, tls: Tls | None) -> None:
    loop = asyncio.get_running_loop()
    async with StoreNode().open(capacity, tls) as store:
        pipe.send((store.node_id, store.door))
        process = Process(store)
        while True:
            word, *rest = await loop.run_in_executor(None, pipe.recv)
            answer: Any = None
            if word == "seen":
                store.exchange.neighbours.seen(*rest)
            elif word == "put":
                oid, size = rest
                await process.put(oid, os.urandom(min(size, MIB)) * -(-size // MIB) if size >= MIB else bytes(size))
            elif word == "cpu":
                answer = time.process_time()
            elif word == "free":
                process.say(pb.FreeObjects(object_ids=rest[0]))
            elif word == "pull":
                oids, size, holder = rest
                started = time.perf_counter()
                process.ask(oids, size, holder)
                ready = await process.next(pb.ObjectsReady, 120)
                answer = time.perf_counter() - started
                assert not ready.HasField("error"), ready.error.message
                process.say(pb.ReleaseObjects(object_ids=oids))
            else:
                return
            pipe.send(answer)


class Holder:
    """Names a node in `Process.ask`."""

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id


class Nodes:
    """Processes that know each other."""

    def __init__(self, count: int, capacity: int, files: tuple[str, str, str, str] | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes, self.about = [], [], []
        for _ in range(count):
            mine, theirs = context.Pipe()
            process = context.Process(target=node, args=(theirs, capacity, files))
            process.start()
            self.pipes.append(mine)
            self.processes.append(process)
            self.about.append(mine.recv())
        for pipe in self.pipes:
            for about in self.about:
                self.ask(pipe, "seen", *about)
        self._oid = 0

    @staticmethod
    def ask(pipe: Any, *words: Any) -> Any:
        """Say and hear."""
        pipe.send(words)
        return pipe.recv()

    def put(self, size: int, count: int = 1) -> list[bytes]:
        """Objects on the first node."""
        oids = []
        for _ in range(count):
            self._oid += 1
            oids.append(self._oid.to_bytes(28, "big"))
            self.ask(self.pipes[0], "put", oids[-1], size)
        return oids

    def cpu(self) -> float:
        """Seconds of processor time of all nodes so far."""
        return float(sum(self.ask(pipe, "cpu") for pipe in self.pipes))

    def pull(self, oids: list[bytes], size: int, readers: int) -> float:
        """Seconds until the last of the readers has them."""
        holder = Holder(self.about[0][0])
        for pipe in self.pipes[1 : readers + 1]:
            pipe.send(("pull", oids, size, holder))
        seconds = float(max(pipe.recv() for pipe in self.pipes[1 : readers + 1]))
        self.ask(self.pipes[0], "free", oids)
        return seconds

    def close(self) -> None:
        """End them."""
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(("end",))
            process.join()


def certificates(folder: str) -> tuple[str, str, str, str]:
    """Files of a cluster of nodes."""
    authority = make_authority("bench", now=datetime.now(UTC))
    paths = [str(Path(folder) / name) for name in ("ca.crt", "worker.crt", "worker.key")]
    Path(paths[0]).write_bytes(authority.certificate)
    write_pair(make_leaf(authority, Role.WORKER, "bench", now=datetime.now(UTC)), paths[1], paths[2])
    return paths[0], paths[1], paths[2], "bench"


def main() -> None:
    """Measure and print."""
    mib = next((int(word) for word in sys.argv[1:] if word.isdigit()), 256)
    size = mib * MIB
    with tempfile.TemporaryDirectory() as folder:
        for tls in (False, True):
            name = "TLS" if tls else "plain"
            nodes = Nodes(5, 3 * size, certificates(folder) if tls else None)
            try:
                nodes.pull(nodes.put(size), size, 1)
                times, busy = [], 0.0
                for _ in range(4):
                    oids, before = nodes.put(size), nodes.cpu()
                    times.append(nodes.pull(oids, size, 1))
                    busy += nodes.cpu() - before
                once = min(times)
                # The time of a busy machine says little; the work of both sides together is the same on any.
                work = busy / 4 / size * 1e9
                print(
                    f"{name}: one copy of {mib} MiB: {size / once / 1e9:.2f} GB/s; {work:.2f} s of CPU per GB, both sides"
                )
                every = min(nodes.pull(nodes.put(size), size, 4) for _ in range(3))
                print(
                    f"{name}: four at once: {every / once:.2f} times one copy; {4 * size / every / 1e9:.2f} GB/s in all"
                )
                small = min(nodes.pull(nodes.put(200_000, 200), 200_000, 1) for _ in range(3))
                print(f"{name}: 200 objects of 200 kB: {200 / small:.0f} /s")
            finally:
                nodes.close()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
