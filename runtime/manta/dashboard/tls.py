"""The certificate a dashboard shows, read again when its files have changed. It asks for none: tokens say who somebody is."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from manta.core.errors import CertificateError

log = logging.getLogger(__name__)


class Certificate:
    """A context that follows a certificate and its key in two files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._stamp: tuple[int, ...] = ()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """For the next who connects."""
        try:
            if self._look() != self._stamp:
                self._context = self._read()
        except (OSError, CertificateError) as wrong:
            log.warning("the certificate stays as it was: %s", wrong)
        return self._context

    def _look(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._files)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Browsers, curl and Ray's client: not everybody's library speaks 1.3 only.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate, key = self._files
        try:
            stamp = self._look()
            context.load_cert_chain(certificate, key)
        except OSError as wrong:  # ssl.SSLError is one
            raise CertificateError(
                f"The certificate {certificate} and its key {key} cannot be used: {wrong}"
            ) from wrong
        self._stamp = stamp
        return context
