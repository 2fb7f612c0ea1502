"""How connections end over which nobody will read the rest."""

from __future__ import annotations

import aiohttp


class Response(aiohttp.ClientResponse):
    """Given up before its end, also before it began, it ends its connection at once.

    By TLS that would first say farewell and wait for an answer, for half a minute and also when nobody is there to wait.
    """

    def close(self) -> None:
        """Hang up, unless all of it has come."""
        connection = self.connection
        transport = None if connection is None else connection.transport
        super().close()
        if transport is not None:
            transport.abort()
