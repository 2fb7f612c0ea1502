"""TLS between a cluster's processes: both sides show a certificate of its authority and are checked by role, not by host.

Contexts follow their files: a certificate that was renewed on disk is used by the next connection, without a restart.
"""

from __future__ import annotations

import os
import ssl

from manta.core.errors import CertificateError
from manta.transport import files
from manta.transport.tls_socket import TlsSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class TlsFiles:
    """Where a process finds its certificate.

    Attributes:
        authority: PEM of the cluster's authority; two while it is rotated.
        certificate: PEM of this process's role.
        key: Its key.
        cluster: The cluster's name in certificates.
    """

    __slots__ = ("authority", "certificate", "cluster", "key")

    def __init__(self, authority: str, certificate: str, key: str, cluster: str) -> None:
        self.authority, self.certificate, self.key, self.cluster = authority, certificate, key, cluster

    @classmethod
    def of_role(cls, folder: str, role: str, cluster: str) -> TlsFiles:
        """The files of a role in a folder of credentials: `ca.crt`, `<role>.crt`, `<role>.key`."""
        return cls(
            os.path.join(folder, "ca.crt"),
            os.path.join(folder, f"{role}.crt"),
            os.path.join(folder, f"{role}.key"),
            cluster,
        )

    def name_of(self, role: str) -> str:
        """The name that the other side must show to be of that role."""
        return f"{role}.{self.cluster}.manta"

    def changed(self) -> tuple[tuple[int, int], ...]:
        """Differs from the last time when one of the files does.

        Raises:
            CertificateError: One cannot be read.
        """
        try:
            return tuple(
                (status.st_mtime_ns, status.st_ino)
                for status in map(os.stat, (self.authority, self.certificate, self.key))
            )
        except OSError as error:
            raise CertificateError(f"The certificate file {error.filename} cannot be read: {error.strerror}") from error


#: In a folder of credentials: the cluster's name in its certificates.
CLUSTER_FILE = files.CLUSTER_FILE


def read_cluster(folder: str) -> str:
    """The cluster whose credentials are in a folder.

    Raises:
        CertificateError: The folder is none of credentials.
    """
    path = os.path.join(folder, CLUSTER_FILE)
    try:
        with open(path) as file:
            name = file.read(256).strip()
    except OSError as error:
        raise CertificateError(
            f"The folder of credentials {folder} has no file '{CLUSTER_FILE}': {error.strerror}"
        ) from error
    if not name or not set(name) <= _NAME:
        raise CertificateError(f"{path} must hold the cluster's name: letters, digits and hyphens")
    return name


_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


class Tls:
    """Contexts for the channel: TLS 1.3, both sides verified."""

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self._made: dict[ssl.Purpose, tuple[object, ssl.SSLContext]] = {}

    def server(self) -> ssl.SSLContext:
        """For connections that others dialled.

        Raises:
            CertificateError: The certificate files are missing or are not what they should be.
        """
        return self._context(ssl.Purpose.CLIENT_AUTH, ssl.PROTOCOL_TLS_SERVER)

    def client(self) -> ssl.SSLContext:
        """For connections that this process dials. Raises as `server`."""
        return self._context(ssl.Purpose.SERVER_AUTH, ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, purpose: ssl.Purpose, protocol: int) -> ssl.SSLContext:
        version = self.files.changed()
        made = self._made.get(purpose)
        if made is not None and made[0] == version:
            return made[1]
        context = _loaded(ssl.SSLContext(protocol), self.files)
        self._made[purpose] = (version, context)
        return context


def _loaded(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.sslsocket_class = TlsSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        # Nobody resumes: connections are few and kept. And a server that sends nothing by itself never has to wait for a write.
        context.num_tickets = 0
    try:
        context.load_verify_locations(files.authority)
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateError(
            f"The certificates {files.certificate}, {files.key} and {files.authority} cannot be used together: {error}"
        ) from error
    return context


def read_pems(files: TlsFiles) -> tuple[bytes, bytes, bytes]:
    """Authority, certificate and key, for gRPC, which wants bytes.

    Raises:
        CertificateError: One cannot be read.
    """
    found = []
    for path in (files.authority, files.certificate, files.key):
        try:
            with open(path, "rb") as file:
                found.append(file.read())
        except OSError as error:
            raise CertificateError(f"The certificate file {path} cannot be read: {error.strerror}") from error
    return found[0], found[1], found[2]


def refused_by(error: ssl.SSLError, peer: str) -> CertificateError:
    """What a failed handshake means, for people."""
    reasons: dict[str, Callable[[], str]] = {
        "CERTIFICATE_VERIFY_FAILED": lambda: (
            f"its certificate is not this cluster's ({error.verify_message})"
            if isinstance(error, ssl.SSLCertVerificationError)
            else "its certificate is not this cluster's"
        ),
        "TLSV1_ALERT_UNKNOWN_CA": lambda: "it does not know the authority of our certificate: it is another cluster's",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED": lambda: "it wants a certificate and we showed none",
        "WRONG_VERSION_NUMBER": lambda: "it does not speak TLS",
    }
    say = reasons.get(error.reason or "")
    return CertificateError(f"{peer} and this process do not trust each other: {say() if say else error}")
