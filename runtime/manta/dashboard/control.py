"""What the dashboard asks control, each with a deadline and repeated where control is away for a moment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from manta.core.errors import MantaError
from manta.dashboard.config import DashboardConfig
from manta.rpc.v1 import control_pb2_grpc
from manta.transport import auth
from manta.transport import grpc as wire
from manta.transport.credentials import JOIN_TOKEN
from manta.transport.tls import TlsFiles, read_cluster

#: How long control may take for one answer, and how often it is asked.
ATTEMPT_S: Final = 5.0
ATTEMPTS: Final = 3


class Control:
    """Calls to control."""

    def __init__(self, stub: Any, token: str) -> None:
        self._stub, self._token = stub, token
        #: Why the last call failed; empty when it did not.
        self.failure = ""

    async def ask(self, method: str, request: Any) -> Any:
        """Make one call of ControlService by its name.

        Raises:
            MantaError: What control answered, or that it did not.
        """
        try:
            answer = await wire.call(
                getattr(self._stub, method), request, token=self._token, timeout_s=ATTEMPT_S, attempts=ATTEMPTS
            )
        except MantaError as error:
            self.failure = str(error) if error.code in ("RPC_FAILED", "RPC_TIMEOUT") else ""
            raise
        self.failure = ""
        return answer


@asynccontextmanager
async def connected(config: DashboardConfig) -> AsyncIterator[Control]:
    """Control, for the length of the block.

    Raises:
        CertificateError, AuthenticationError: The folder of credentials lacks something.
    """
    files, token = None, ""
    if not config.control.startswith("unix:"):
        assert config.credentials is not None, "see __main__"
        folder = os.fspath(config.credentials)
        files = TlsFiles.of_role(folder, "dashboard", read_cluster(folder))
        token = auth.read_token(os.path.join(folder, JOIN_TOKEN))
    channel = wire.channel(config.control, files)
    try:
        yield Control(control_pb2_grpc.ControlServiceStub(channel), token)
    finally:
        await channel.close()
