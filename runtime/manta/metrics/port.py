"""A process's port for health and metrics, opened where its settings want one: what raylet and control have in common."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from manta.metrics import endpoint, flags, http, text
from manta.metrics.listen import Listen
from manta.transport.tokens import TokenFile


@asynccontextmanager
async def opened(
    listen: Listen,
    numbers: Callable[[], bytes],
    *,
    unready: Callable[[], str],
    token: Callable[[], Sequence[str]],
    remark: Callable[[], str] = str,
) -> AsyncIterator[int]:
    """Serve for the length of the block, which gets the TCP port; 0 when there is none.

    Args:
        listen: Where; possibly nowhere.
        numbers: Makes the text of /metrics.
        unready: Why the process is not ready; empty when it is.
        remark: What else a process that is ready has to say of how it is; empty for nothing.
        token: Says what is valid now beside the token files: the session's, nothing where there is none.

    Raises:
        SettingError: The port or the socket cannot be used.
        AuthenticationError: A token file holds none.
    """
    if not listen.wanted:
        yield 0
        return
    text.load()
    roles = TokenFile(str(listen.roles_file), time.time) if listen.roles_file is not None else None
    own = flags.tokens(listen)
    door = http.Door(
        numbers,
        text.CONTENT_TYPE,
        unready,
        lambda: (*own, *token()),
        hosts=listen.hosts,
        roles=roles,
        open_to_all=listen.open_to_all,
        remark=remark,
    )
    async with endpoint.serve(listen, door) as port:
        yield port
