"""`python -m manta.gateway.owner DESCRIPTOR RAYLET`: one session process, started by the gateway and ended by it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys

from manta.client.links import Link
from manta.core import errors
from manta.gateway.owner.session import OutsideSession
from manta.rpc.v1 import channel_pb2 as pb
from manta.shm.libc import keep_freed
from manta.transport.channel import NUMBER, Connection
from manta.transport.convert import error_to_proto

log = logging.getLogger("manta.gateway.owner")

#: The gateway says at once whose session this is.
HELLO_S = 30.0

#: What malloc may keep of what parts of large values took: some parts. There is a process for each driver, and most are idle.
KEEP_BYTES = 8 << 20


def main(arguments: list[str] | None = None) -> int:
    """Be the driver until the session is over."""
    descriptor, raylet = (sys.argv[1:] if arguments is None else arguments)[:2]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    connection = Connection(socket.socket(fileno=int(descriptor)))
    connection.settimeout(HELLO_S)
    number, hello, _ = connection.read_frame()
    if number != NUMBER[pb.GatewayHello]:
        return 2
    keep_freed(KEEP_BYTES)
    session = OutsideSession()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        session.connect(raylet, hello.hello, directory=os.path.dirname(raylet))
    except (errors.MantaError, OSError) as refused:
        connection.send(pb.Refused(error=error_to_proto(refused)))
        return 1
    ended = errors.RpcError("the gateway ended the session")
    signal.signal(signal.SIGTERM, lambda number, frame: session.end(ended))
    session.serve(Link(connection))
    while not session.over.done:
        session.pump.wait(session.over, session.now() + 1.0)
    if session.reason is not None:
        log.warning("the session ends: %s", session.reason)
    session.close()
    # Threads that wait for the store hold nothing that anybody needs.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
