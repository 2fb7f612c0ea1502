"""Where nodes of other machines join: TLS both ways, and the join token with every call.

It is a server of its own beside the one on the Unix socket, which asks for neither: its folder is the credential there.
"""

from __future__ import annotations

import os

import grpc

from manta.control.config import ControlConfig
from manta.core.errors import SettingError
from manta.transport import auth
from manta.transport import grpc as wire
from manta.transport.addresses import joined, parse_bind
from manta.transport.credentials import JOIN_TOKEN
from manta.transport.tls import TlsFiles, read_cluster


def listen(config: ControlConfig, handlers: grpc.GenericRpcHandler, most: int) -> tuple[grpc.aio.Server, str, int]:
    """Make the server, bound and not started, and where it is: "host:port", and the port.

    Args:
        config: Says where.
        handlers: What it serves.
        most: Connections at a time.

    Raises:
        SettingError: The address cannot be had.
        CertificateError, AuthenticationError: The folder of credentials lacks something.
    """
    assert config.credentials is not None, "see __main__"
    folder = os.fspath(config.credentials)
    files = TlsFiles.of_role(folder, "control", read_cluster(folder))
    server = wire.server(auth.JoinTokens(os.path.join(folder, JOIN_TOKEN)), most=most)
    server.add_generic_rpc_handlers((handlers,))
    try:
        host, _ = parse_bind(config.listen)
        port = server.add_secure_port(config.listen, wire.server_credentials(files))
    except ValueError as wrong:
        raise SettingError("listen", config.listen, "HOST:PORT") from wrong
    except RuntimeError as taken:
        raise SettingError(
            "listen", config.listen, "an address of this machine and a port on which nobody else listens"
        ) from taken
    return server, joined(host, port), port
