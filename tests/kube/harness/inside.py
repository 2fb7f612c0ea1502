"""The first process of a control plane's namespaces: starts its parts, watches them, lets connections in; all ends with it.

Run by `control_plane` through `unshare`, with new network, mount and PID namespaces. It says one JSON object a line on standard
output (`ready` first, then an answer for each request) and reads requests, one JSON object a line, on standard input: when
that closes, however its parent ended, it ends. Nothing is left then but the folder with certificates and logs.

The way in is one listening socket that its parent made outside and handed down: a socket stays in the network namespace where it
was made, so connections come from there, and go on to the API server in here. No route, no link and no fixed address exists
outside, so that any number of these live side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

#: The API server's address for its own Service; it refuses loopback ones, so this one is added to the loopback device.
ADVERTISED = "10.10.0.1"
SERVICES = "10.96.0.0/16"
PORTS = {"apiserver": 6443, "controllers": 10257, "scheduler": 10259}
#: Pause between two looks at a part's health.
LOOK_S = 0.05
#: How much of a part's log is shown when it ends by itself.
TAIL = 2000


class PartEndedError(Exception):
    """A part ended by itself, or never got healthy; the text has the end of its log."""


class Parts:
    """The processes, by name.

    Args:
        folder: Where certificates are and logs go.
        program: The binary that `build` made.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self.folder, self.program = folder, program
        self._running: dict[str, asyncio.subprocess.Process] = {}
        #: Done when a part ended that nobody had told to.
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watches: set[asyncio.Task[None]] = set()

    async def start(self, name: str) -> None:
        """Start one and wait until it is healthy."""
        if name in self._running:
            raise ValueError(f"{name} runs already")
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                self.program, *self._arguments(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        self._running[name] = process
        watch = asyncio.create_task(self._watch(name, process), name=f"watch {name}")
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        await self._healthy(name)

    async def stop(self, name: str) -> None:
        """Kill one: what clients see is what they would see if its machine lost power."""
        process = self._running.pop(name, None)
        if process is None:
            raise ValueError(f"{name} does not run")
        process.kill()
        await process.wait()

    def pause(self, name: str, *, on: bool) -> None:
        """Stop or go on with one: its connections stay open and nothing is answered."""
        process = self._running[name]
        process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)
        if on:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)  # each of its threads stands still

    async def _watch(self, name: str, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if self._running.get(name) is process and not self.ended.done():
            self.ended.set_result(f"{name} ended with status {status}:\n{self._log(name)}")

    def _log(self, name: str) -> str:
        return (self.folder / "log" / f"{name}.log").read_text(errors="replace")[-TAIL:]

    async def _healthy(self, name: str) -> None:
        checks: dict[str, Callable[[], Awaitable[bool]]] = {
            "etcd": lambda: self._answers(2379, "/health", tls=False),
            "apiserver": lambda: self._answers(PORTS["apiserver"], "/readyz"),
            "controllers": self._controllers_work,
            "scheduler": lambda: self._answers(PORTS["scheduler"], "/healthz"),
        }
        while not await checks[name]():
            if self.ended.done():
                raise PartEndedError(self.ended.result())
            await asyncio.sleep(LOOK_S)

    async def _controllers_work(self) -> bool:
        """They serve, and have done their first work: without this account the first pod would be refused."""
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        return await self._answers(PORTS["controllers"], "/healthz") and await self._answers(
            PORTS["apiserver"], account
        )

    async def _answers(self, port: int, path: str, *, tls: bool = True) -> bool:
        """Whether a GET brings status 200."""
        context = None
        if tls:
            # These are our own processes on our own loopback; some of them show a certificate they made themselves.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if port == PORTS["apiserver"]:
                context.load_cert_chain(self.folder / "pki/admin.crt", self.folder / "pki/admin.key")
        try:
            async with asyncio.timeout(5.0):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                try:
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                    return b" 200 " in await reader.readline()
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError):
            return False

    def _arguments(self, name: str) -> list[str]:
        pki, folder = self.folder / "pki", self.folder
        match name:
            case "etcd":
                return ["etcd", "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync", "--log-level", "warn"]
            case "apiserver":
                return [
                    "kube-apiserver",
                    "--etcd-servers=http://127.0.0.1:2379",
                    f"--secure-port={PORTS['apiserver']}",
                    f"--advertise-address={ADVERTISED}",
                    f"--service-cluster-ip-range={SERVICES}",
                    f"--tls-cert-file={pki}/apiserver.crt",
                    f"--tls-private-key-file={pki}/apiserver.key",
                    f"--client-ca-file={pki}/ca.crt",
                    f"--service-account-key-file={pki}/sa.pub",
                    f"--service-account-signing-key-file={pki}/sa.key",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    "--authorization-mode=RBAC",
                    f"--audit-policy-file={folder}/audit-policy.json",
                    f"--audit-log-path={folder}/log/audit.log",
                ]
            case "controllers":
                return [
                    "kube-controller-manager",
                    f"--kubeconfig={folder}/controllers.conf",
                    f"--service-account-private-key-file={pki}/sa.key",
                    f"--root-ca-file={pki}/ca.crt",
                    "--use-service-account-credentials",
                    "--leader-elect=false",
                ]
            case "scheduler":
                return ["kube-scheduler", f"--kubeconfig={folder}/scheduler.conf", "--leader-elect=false"]
        raise ValueError(f"there is no part {name!r}")


async def let_in(listening: socket.socket, port: int) -> asyncio.Server:
    """Carry each connection that the parent's socket accepts to a port in here, both ways, until either side ends it."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return  # nobody serves at the moment: the connection ends, as at a closed port
            with contextlib.closing(inner_writer):
                ways = [asyncio.create_task(copy(*way)) for way in ((reader, inner_writer), (inner_reader, writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(1 << 16):
                writer.write(content)
                await writer.drain()

    return await asyncio.start_server(carry, sock=listening)


def prepare(folder: Path) -> None:
    """Make the namespaces fit to live in."""
    commands = [
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "proc", "proc", "/proc"],
        # In memory: fast, and gone with the mount namespace.
        ["mount", "-t", "tmpfs", "-o", "mode=700", "etcd", str(folder / "etcd")],
        ["ip", "link", "set", "lo", "up"],
        ["ip", "address", "add", f"{ADVERTISED}/32", "dev", "lo"],
    ]
    for command in commands:
        subprocess.run(command, check=True)


async def serve(folder: Path, program: str, listening: socket.socket) -> None:
    """Start everything, say that it is ready, then do what is asked until nobody is there to ask."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, over.cancel)
    requests = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    parts = Parts(folder, program)

    async def work() -> None:
        await parts.start("etcd")
        await parts.start("apiserver")
        await asyncio.gather(parts.start("controllers"), parts.start("scheduler"))
        door = await let_in(listening, PORTS["apiserver"])
        say(ready=True)
        async with door:
            while line := await requests.readline():
                try:
                    await perform(parts, json.loads(line))
                except (ValueError, KeyError) as error:
                    say(error=str(error))
                else:
                    say(done=True)

    working = asyncio.create_task(work(), name="work")
    # The parent may go while things start: then nobody waits for them.
    gone = asyncio.create_task(_closed(requests), name="is the parent there")
    await asyncio.wait((working, parts.ended, over, gone), return_when=asyncio.FIRST_COMPLETED)
    if working.done() and (error := working.exception()) is not None:
        say(failed=str(error))
    elif parts.ended.done():
        say(failed=parts.ended.result())


async def _closed(requests: asyncio.StreamReader) -> None:
    while not requests.at_eof():
        await asyncio.sleep(LOOK_S)


async def perform(parts: Parts, request: dict[str, Any]) -> None:
    """Do one thing that was asked for."""
    name = request["part"]
    match request["do"]:
        case "start":
            await parts.start(name)
        case "stop":
            await parts.stop(name)
        case "pause":
            parts.pause(name, on=True)
        case "resume":
            parts.pause(name, on=False)
        case other:
            raise ValueError(f"cannot {other!r}")


def say(**what: Any) -> None:
    """One line to the parent; a parent that is gone hears nothing."""
    with contextlib.suppress(OSError):
        print(json.dumps(what), flush=True)


def main() -> None:
    """Arguments: folder, binary, number of the listening socket."""
    folder, program, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    try:
        prepare(folder)
        asyncio.run(serve(folder, program, socket.socket(fileno=number)))
    except (OSError, subprocess.CalledProcessError) as error:
        say(failed=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
