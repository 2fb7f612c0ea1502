"""Is control there, and would it and this process trust each other? Asked with plain sockets before gRPC is.

gRPC says UNAVAILABLE to nearly everything that can be wrong below it, and goes on trying. Here each of these has a name.
"""

from __future__ import annotations

import errno
import socket
import ssl

from manta.core.errors import CertificateError, ClusterNotFoundError
from manta.transport.addresses import parse_door
from manta.transport.tls import Tls, TlsFiles, refused_by

#: What gRPC servers want to hear in the handshake.
_PROTOCOL = "h2"


def probe(target: str, files: TlsFiles, role: str = "control", *, timeout_s: float = 3.0) -> None:
    """Connect, shake hands, hang up. Blocks for at most about `timeout_s`.

    Args:
        target: "host:port".
        files: This process's certificates.
        role: Whose certificate the other side has to show.
        timeout_s: For each step.

    Raises:
        ClusterNotFoundError: Nobody is there, or there is no way to it; it may come.
        CertificateError: We do not trust it, or it does not trust us; trying again is of no use.
    """
    try:
        host, port = parse_door(target)
    except ValueError as wrong:
        raise ClusterNotFoundError(target, str(wrong)) from wrong
    context = Tls(files).client()
    context.set_alpn_protocols([_PROTOCOL])
    try:
        sock = socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise ClusterNotFoundError(target, _no_way(error, host, port, timeout_s)) from error
    with sock:
        try:
            with context.wrap_socket(sock, server_hostname=files.name_of(role)) as secure:
                # It has accepted our certificate when it says something: its side of HTTP/2 begins with settings.
                if not secure.recv(1):
                    raise ClusterNotFoundError(target, "it hung up after the handshake")
        except ssl.SSLError as error:
            raise _untrusted(error, target) from error
        except TimeoutError as error:
            raise ClusterNotFoundError(
                target, f"it did not answer within {timeout_s:g} s; is it control's port?"
            ) from error
        except OSError as error:
            raise ClusterNotFoundError(
                target, f"it hung up ({error.strerror or error}); is it control's port?"
            ) from error


def _no_way(error: OSError, host: str, port: int, timeout_s: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens on port {port} of {host}; is the head running, and is this the port it printed?"
    if isinstance(error, socket.gaierror):
        return f"{host} is no host that this machine can find"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s; a firewall may be in the way of port {port}"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"there is no route to {host} from this machine"
    return error.strerror or str(error)


def _untrusted(error: ssl.SSLError, target: str) -> Exception:
    if isinstance(error, ssl.SSLEOFError):
        return ClusterNotFoundError(target, "it hung up during the handshake; is it control's port?")
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in (_NOT_YET, _EXPIRED):
        which = "not valid yet" if error.verify_code == _NOT_YET else "no longer valid"
        return CertificateError(
            f"The certificate of {target} is {which} by this machine's clock. Compare the clocks of both machines (date -u)"
        )
    return refused_by(error, target)


#: OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_NOT_YET, _EXPIRED = 9, 10
