"""A client's or server's TLS socket that is closed, and not lost, when its peer hung up before TLS began."""

from __future__ import annotations

import errno
import os
import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class TlsSocket(ssl.SSLSocket):
    """What `wrap_socket` makes in a context whose `sslsocket_class` this is.

    `wrap_socket` takes the plain socket's descriptor first and then asks for the peer's name. A connection that was reset
    meanwhile has none: the standard library raises there and leaves the descriptor open, with nobody who could close it, or
    hands out a socket that never began TLS.
    """

    def getpeername(self) -> Any:
        """The peer's address.

        Raises:
            ConnectionResetError: The connection was reset before TLS began; the socket is closed.
            OSError: There is none.
        """
        try:
            return super().getpeername()
        except OSError as gone:
            if gone.errno != errno.ENOTCONN or self.version() is not None:
                raise
            self.close()
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from gone
