"""What the factory's children run in these tests: a worker that obeys one-line orders on a socket of its own."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys

from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import PROTOCOL, Connection


def run(worker_id: bytes, raylet: str) -> int:
    """Join, then obey: `print TEXT`, `write TEXT`, `mark NAME`, `exit N`, `signal N`, `raise`, `block`, `unblock`, `close`,
    `child`, `daemon`, `started`, `failed`, `env NAME`, `numbers`."""
    path = os.path.join(os.path.dirname(raylet), f"w-{worker_id.hex()[:8]}.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(8)
    connection = Connection.dial(raylet)
    hello = pb.Hello(
        protocol=PROTOCOL,
        role=pb.ROLE_WORKER,
        worker_id=worker_id,
        endpoint=f"unix:{path}",
        pid=os.getpid(),
        python=".".join(map(str, sys.version_info[:3])),
    )
    connection.send(hello)
    actor = pb.StartActor()
    while True:
        readable, _, _ = select.select([listener.fileno(), *([] if connection.closed else [connection.fd])], [], [])
        if not connection.closed and connection.fd in readable:
            try:
                frames = connection.receive()
            except EOFError:
                return 0
            for _number, message, _raw in frames:
                if isinstance(message, pb.Exit):
                    return 0
                if isinstance(message, pb.StartActor):
                    actor = message
                    connection.send(pb.ActorStarted(actor_id=actor.actor_id, incarnation=actor.incarnation))
                if isinstance(message, pb.StackRequest):
                    connection.send(
                        pb.StackReply(request_id=message.request_id, pid=os.getpid(), title="fake", stacks=["here"])
                    )
        if listener.fileno() in readable:
            peer, _ = listener.accept()
            with peer:
                order, _, argument = peer.recv(65536).decode().partition(" ")
                answer = obey(order, argument, connection)
                peer.sendall(answer.encode() + b"\n")


def obey(order: str, argument: str, connection: Connection) -> str:
    match order:
        case "print":
            print(argument)
        case "write":
            os.write(1, argument.encode("latin-1"))
        case "mark":
            from manta.core.log_marks import source_line

            sys.stdout.write(source_line(argument))
        case "exit":
            os._exit(int(argument))
        case "leave":
            raise SystemExit(int(argument))
        case "raise":
            raise RuntimeError(argument)
        case "signal":
            os.kill(os.getpid(), int(argument))
        case "crash":
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            ctypes.string_at(0)
        case "block":
            connection.send(pb.Blocked())
        case "unblock":
            connection.send(pb.Unblocked())
        case "close":
            connection.close()
            return "closed"
        case "child":
            return str(subprocess.Popen(["sleep", "1000"]).pid)
        case "daemon":
            # In a session of its own, with its parent gone: out of reach of our process group.
            out = subprocess.run(
                ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
            )
            return out.stdout.strip()
        case "hermit":
            return str(hermit(argument))
        case "env":
            return os.environ.get(argument, "")
        case "random":
            import random

            return str(random.random())
        case "parent":
            return str(os.getppid())
    return "done"


def hermit(program: str) -> int:
    """Process id of one that has left session, group and parents, and has an empty environment or runs no program."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, b"%d" % os.getpid())
            if program:
                os.execve("/bin/sleep", ["sleep", "1000"], {})
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            while True:
                signal.pause()
        os._exit(0)
    pid = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    return pid
