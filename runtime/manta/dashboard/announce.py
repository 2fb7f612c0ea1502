"""Leaves with control where this server is, for drivers that ask; takes it back at the end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from manta.aio.supervisor import Supervisor
from manta.core.errors import MantaError
from manta.dashboard.control import Control
from manta.rpc.v1 import control_pb2 as pb
from manta.transport.page_address import KEY, NAMESPACE

log = logging.getLogger(__name__)

#: Between two attempts, growing up to the second.
PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
#: Who starts this server may at once start drivers that ask: it counts as ready only then, or after so long.
PATIENCE_S: Final = 1.0
#: For taking it back.
GOODBYE_S: Final = 1.0


@asynccontextmanager
async def announced(control: Control, value: bytes, tasks: Supervisor) -> AsyncIterator[None]:
    """Control knows it for the length of the block, as soon as it can be told."""
    telling = tasks.start(_tell(control, value), name="announce")
    try:
        await asyncio.wait((telling,), timeout=PATIENCE_S)
        yield
    finally:
        with suppress(MantaError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                there = await control.ask("KvGet", pb.KvGetRequest(namespace=NAMESPACE, key=KEY))
                # One that was started in our place has left its own.
                if there.value == value:
                    request = pb.KvDelRequest(request_id=os.urandom(16), namespace=NAMESPACE, key=KEY)
                    await control.ask("KvDel", request)


async def _tell(control: Control, value: bytes) -> None:
    request = pb.KvPutRequest(request_id=os.urandom(16), namespace=NAMESPACE, key=KEY, value=value, overwrite=True)
    pause_s = PAUSE_S
    while True:
        try:
            await control.ask("KvPut", request)
            return
        except MantaError as away:
            log.warning("control does not know yet where this server is: %s", away)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
