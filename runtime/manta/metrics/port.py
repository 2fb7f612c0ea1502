"""A process's port for health and metrics, opened where its settings want one: what raylet and control have in common."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from manta.metrics import endpoint, flags, http, text
from manta.metrics.listen import Listen
from manta.transport.tokens import TokenFile


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
        AuthenticationError: A token file holds none.
    """
    if not listen.wanted:
        yield 0
        return
    text.load()
    roles = TokenFile(str(listen.roles_file), time.time) if listen.roles_file is not None else None
    valid = flags.tokens(listen, token)
    door = http.Door(numbers, text.CONTENT_TYPE, unready, valid, hosts=listen.hosts, roles=roles)
    async with endpoint.serve(listen, door) as port:
        yield port
