"""A connection that is reset before TLS begins costs an error, and no descriptor."""

from __future__ import annotations

import select
import socket
import ssl
import struct

import pytest

from manta.transport.tls_socket import TlsSocket
from tests.support.leaks import open_fds


@pytest.mark.parametrize("server_side", [False, True], ids=["dialled", "accepted"])
@pytest.mark.parametrize("said", [b"", b"some bytes first"])
def test_a_reset_before_tls_is_an_error_and_closes_the_socket(server_side: bool, said: bytes):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.sslsocket_class = TlsSocket
    before = open_fds()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
        peer.sendall(said)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        reset = select.poll()
        reset.register(sock, select.POLLHUP)
        assert reset.poll(10_000), "the reset did not arrive"
        with pytest.raises(ConnectionResetError):
            context.wrap_socket(sock, server_side=server_side)
    assert open_fds() == before
