"""The certificate a gateway shows, read again when its files have changed."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import grpc

log = logging.getLogger(__name__)


class Certificate:
    """A certificate and its key in two files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._stamp: tuple[int, ...] = ()

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that follow the files."""
        changed: Any = self._changed  # None means no change, which the stubs do not know
        return grpc.dynamic_ssl_server_credentials(self._read(), changed, require_client_authentication=False)

    def _look(self) -> tuple[int, ...]:
        return tuple(number for file in self._files for number in (file.stat().st_mtime_ns, file.stat().st_ino))

    def _read(self) -> grpc.ServerCertificateConfiguration:
        stamp = self._look()
        certificate, key = (file.read_bytes() for file in self._files)
        # gRPC takes any two files, and would then fail every handshake: half a renewal must not shut the door.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
        self._stamp = stamp
        return grpc.ssl_server_certificate_configuration([(key, certificate)])

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called for every handshake: the new ones, or None where there are none."""
        try:
            return None if self._look() == self._stamp else self._read()
        except OSError as wrong:  # ssl.SSLError is one
            log.warning("the certificate stays as it was: %s", wrong)
            return None
