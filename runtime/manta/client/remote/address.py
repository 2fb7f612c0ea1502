"""`manta://HOST:PORT`, and what a driver shows and trusts there."""

from __future__ import annotations

from manta.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl
    from typing import Any

#: Where a gateway listens unless told otherwise.
DEFAULT_PORT = 7620
SCHEME = "manta://"

#: How authorities of a cluster are called; a certificate of theirs is checked for the role's name, not the host's.
_AUTHORITY = "authority of "


class Gateway:
    """One gateway as a driver knows it, and the way there."""

    __slots__ = ("address", "ca", "host", "name", "plain", "port", "token")

    def __init__(self, address: str, token: str, ca: bytes | None, *, plain: bool = False) -> None:
        self.address = address
        self.host, self.port = split(address)
        #: Shown to it; a secret.
        self.token = token
        #: Authorities it is trusted by, PEM; None for those of the machine.
        self.ca = ca
        #: The name its certificate has to have; empty for the host's.
        self.name = role_name_of(ca) if ca is not None else ""
        #: It speaks without TLS: who is on the way reads and changes everything.
        self.plain = plain

    @property
    def authority(self) -> str:
        """As HTTP names it."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def context(self) -> ssl.SSLContext:
        """TLS as it is spoken with the gateway: whoever shows another name, or another authority's, is not it."""
        import ssl

        from manta.transport.tls_socket import TlsSocket

        context = ssl.create_default_context(cadata=None if self.ca is None else self.ca.decode("ascii", "replace"))
        context.sslsocket_class = TlsSocket
        context.set_alpn_protocols(["h2"])
        return context

    def dial(self, timeout_s: float) -> socket.socket:
        """A connection to it, without TLS yet; the caller's to close.

        Raises:
            OSError: None came about; `reason` says what that means.
        """
        import socket

        sock = socket.create_connection((self.host, self.port), timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def reason(self, failed: OSError) -> errors.MantaError:
        """The error for a connection, or TLS over it, that did not come about."""
        from manta.client.remote.diagnose import reason

        return reason(self, failed)

    def renew(self) -> bool:
        """After a refusal: look for something else to show, or to trust; whether there is."""
        return False

    def close(self) -> None:
        """Nobody dials any more. The session that was given it calls this at its end."""


def split(address: str) -> tuple[str, int]:
    """Host and port of an address.

    Raises:
        ClusterNotFoundError: It is none.
    """
    rest = address.removeprefix(SCHEME).rstrip("/")
    host, separator, port = rest.rpartition(":")
    if not separator or rest.endswith("]"):
        host, port = rest, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536 or "/" in host or "@" in host:
        raise errors.ClusterNotFoundError(address, f"an address of a gateway is {SCHEME}HOST or {SCHEME}HOST:PORT")
    return host, int(port)


def role_name_of(ca: bytes) -> str:
    """The name that a gateway's certificate has when its authority is a cluster's own; empty for any other authority.

    Raises:
        AuthenticationError: There is no certificate in it.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca.decode("ascii", "replace"))
    except ssl.SSLError as wrong:
        raise errors.AuthenticationError(
            f"the file of authorities (MANTA_CA_FILE) holds no certificate: {wrong}"
        ) from None
    for certificate in context.get_ca_certs():
        subject: Any = certificate.get("subject", ())
        for part in subject:
            for key, value in part:
                if key == "commonName" and str(value).startswith(_AUTHORITY):
                    return f"gateway.{str(value).removeprefix(_AUTHORITY)}.manta"
    return ""
