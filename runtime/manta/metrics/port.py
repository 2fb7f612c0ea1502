"""A process's port for health and metrics, opened where its settings want one: what raylet and control have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from manta.metrics import endpoint, flags, http, text
from manta.metrics.listen import Listen


@asynccontextmanager
async def opened(
    listen: Listen, numbers: Callable[[], bytes], *, unready: Callable[[], str], token: str
) -> AsyncIterator[int]:
    """Serve for the length of the block, which gets the TCP port; 0 when there is none.

    Args:
        listen: Where; possibly nowhere.
        numbers: Makes the text of /metrics.
        unready: Why the process is not ready; empty when it is.
        token: The session's, valid beside those of the token file.

    Raises:
        SettingError: The port or the socket cannot be used.
        AuthenticationError: The token file holds none.
    """
    if not listen.wanted:
        yield 0
        return
    text.load()
    door = http.Door(numbers, text.CONTENT_TYPE, unready, flags.tokens(listen, token), hosts=listen.hosts)
    async with endpoint.serve(listen, door) as port:
        yield port
