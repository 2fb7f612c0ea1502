"""The first process of a Docker daemon's namespaces: starts the daemon, lets connections in; all ends with it.

Run by `engine` through `unshare`, with new network, mount and PID namespaces. It says one JSON object on standard output,
`ready` or `failed`; when its standard input closes, however its parent ended, it ends, and the kernel ends all else in here.

The way in is the daemon's Unix socket, and listening sockets that its parent made outside and handed down: connections to
those go on to the same port of the loopback device in here. No link, route or address exists outside, so that any number of
these live side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.kube.harness.inside import let_in

LOOK_S = 0.05
TAIL = 2000
#: What a daemon without containers gets to put its store in order.
STOP_S = 10.0


def prepare() -> None:
    """Make the namespaces fit to live in."""
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "proc", "proc", "/proc"],
        # Sockets of container shims, the lock of iptables: the machine's are somebody else's.
        ["mount", "-t", "tmpfs", "run", "/run"],
        ["ip", "link", "set", "lo", "up"],
    ):
        subprocess.run(command, check=True)


async def serve(command: list[str], log: Path, doors: list[socket.socket], *, gently: bool) -> None:
    """Start the daemon, say that it is ready, and live until nobody is there who needs it."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    parent = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(parent), sys.stdin)
    with log.open("ab") as output:
        daemon = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    ended = asyncio.create_task(daemon.wait(), name="the daemon")
    gone = asyncio.create_task(parent.read(), name="the parent")
    stop = asyncio.create_task(over.wait(), name="SIGTERM")
    ready = asyncio.create_task(_ready(log.with_name("docker.sock")), name="ready")
    await asyncio.wait((ended, gone, stop, ready), return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        servers = [await let_in(door, door.getsockname()[1]) for door in doors]
        say(ready=True)
        await asyncio.wait((ended, gone, stop), return_when=asyncio.FIRST_COMPLETED)
        for server in servers:
            server.close()
    if ended.done():
        say(failed=f"dockerd ended with status {daemon.returncode}:\n{_end_of(log)}")
    elif gently:
        daemon.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(daemon.wait(), STOP_S)


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-TAIL:]


async def _ready(path: Path) -> None:
    """Wait until the daemon answers."""
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5.0):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"GET /_ping HTTP/1.0\r\n\r\n")
                line = await reader.readline()
                writer.transport.abort()
                if b" 200 " in line:
                    return
        await asyncio.sleep(LOOK_S)


def say(**what: Any) -> None:
    """One line to the parent; a parent that is gone hears nothing."""
    with contextlib.suppress(OSError):
        print(json.dumps(what), flush=True)


def main() -> None:
    """One argument, JSON: the daemon's command, its log (its socket is beside it), numbers of listening sockets, how it ends."""
    asked = json.loads(sys.argv[1])
    doors = [socket.socket(fileno=number) for number in asked["doors"]]
    try:
        prepare()
        asyncio.run(serve(asked["command"], Path(asked["log"]), doors, gently=asked["gently"]))
    except (OSError, subprocess.CalledProcessError) as error:
        say(failed=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
