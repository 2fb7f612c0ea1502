"""What the dashboard asks control, each with a deadline and repeated where control is away for a moment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from manta.core.errors import MantaError
from manta.dashboard.config import DashboardConfig
from manta.rpc.v1 import control_pb2 as pb
from manta.transport import grpc as wire
from manta.transport.page_address import KEY, NAMESPACE
from manta.transport.to_control import WayToControl

#: How long control may take for one answer, and how often it is asked.
ATTEMPT_S: Final = 5.0
ATTEMPTS: Final = 3
#: Between two questions whether it is there, while all is well and while it is not.
EVERY_S: Final = 2.0
AGAIN_S: Final = 0.25


class Control:
    """Calls to control."""

    def __init__(self, way: WayToControl) -> None:
        self._way = way
        #: Why the last call failed; empty when it did not.
        self.failure = ""

    async def ask(self, method: str, request: Any) -> Any:
        """Make one call of ControlService by its name.

        Raises:
            MantaError: What control answered, or that it did not.
        """
        try:
            answer = await wire.call(
                await self._way.method(method),
                request,
                token=self._way.token,
                timeout_s=ATTEMPT_S,
                attempts=ATTEMPTS,
            )
        except MantaError as error:
            self.failure = str(error) if error.code in ("RPC_ERROR", "RPC_TIMEOUT") else ""
            raise
        self.failure = ""
        return answer

    async def stay_told(self) -> None:
        """Ask now and then, for ever, so that `failure` says how it is although nobody else asks."""
        while True:
            with suppress(MantaError):
                await self.ask("KvGet", pb.KvGetRequest(namespace=NAMESPACE, key=KEY))
            await asyncio.sleep(AGAIN_S if self.failure else EVERY_S)


@asynccontextmanager
async def connected(config: DashboardConfig) -> AsyncIterator[Control]:
    """Control, for the length of the block.

    Raises:
        CertificateError, AuthenticationError: The folder of credentials lacks something.
    """
    way = WayToControl(config.control, os.fspath(config.credentials) if config.credentials else None, "dashboard")
    try:
        yield Control(way)
    finally:
        await way.close()
