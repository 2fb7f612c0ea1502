"""Calls to control from a server that is no node: the way there follows the files of credentials, which may change any time."""

from __future__ import annotations

import os
from typing import Any, Final

from manta.core.errors import AuthenticationError, CertificateError
from manta.rpc.v1 import control_pb2_grpc
from manta.transport import grpc as wire
from manta.transport.auth import JoinTokens
from manta.transport.credentials import JOIN_TOKEN
from manta.transport.tls import TlsFiles, read_cluster

#: Calls under way on a channel that is replaced may take so long, seconds.
_GRACE_S: Final = 10.0


class WayToControl:
    """A channel to control, made anew when the certificates change. Close it with `close`.

    Args:
        target: gRPC target: "unix:PATH", or "host:port" with `folder`.
        folder: Of credentials; None where control is a Unix socket, whose folder is the credential.
        role: Whose certificate this process shows.

    Raises:
        CertificateError, AuthenticationError: The folder of credentials lacks something.
    """

    def __init__(self, target: str, folder: str | None, role: str) -> None:
        self._target = target
        self._files: TlsFiles | None = None
        self._tokens: JoinTokens | None = None
        if folder is not None and not target.startswith("unix:"):
            self._files = TlsFiles.of_role(folder, role, read_cluster(folder))
            self._tokens = JoinTokens(os.path.join(folder, JOIN_TOKEN))
        self._version = self._files.changed() if self._files is not None else ()
        self._open()

    def _open(self) -> None:
        self._channel = wire.channel(self._target, self._files)
        self._stub: Any = control_pb2_grpc.ControlServiceStub(self._channel)

    @property
    def token(self) -> str:
        """What is shown now; nothing on a Unix socket."""
        return "" if self._tokens is None else self._tokens()[0]

    async def method(self, name: str) -> Any:
        """A method of ControlService by its name, good for one call."""
        if self._files is not None:
            try:
                version = self._files.changed()
                if version != self._version:
                    old = self._channel
                    self._open()
                    self._version = version
                    # Who is on it may end; nobody else begins.
                    await old.close(_GRACE_S)
            except (CertificateError, AuthenticationError):
                pass  # half a renewal: what there is is good for a while
        return getattr(self._stub, name)

    async def close(self) -> None:
        """End it, and what is under way."""
        await self._channel.close()
