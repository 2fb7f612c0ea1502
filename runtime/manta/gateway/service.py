"""The gRPC face of the gateway: who is let in, and one connection's messages passed on both ways."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from manta.core import errors
from manta.gateway.metrics import Counts
from manta.gateway.sessions import HIGH_BYTES, Attachment, Session, Sessions
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport import auth, status
from manta.transport.tokens import TokenFile, TokenRole
from manta.version import __version__

log = logging.getLogger(__name__)

#: Version of `gateway.proto`'s meaning.
PROTOCOL = 1

SERVICE = "manta.rpc.v1.GatewayService"

#: A connection says at once what it wants.
FIRST_MESSAGE_S = 10.0

#: Largest first message: import paths and environment variables.
FIRST_MESSAGE_BYTES = 4 << 20

#: While a session's process does not read, its driver is looked at so often.
LOOK_S = 0.002


class GatewayService:
    """Connects drivers with their session processes. Messages are bytes here: only the first of a connection is decoded.

    Args:
        sessions: Those of all drivers.
        tokens: Who is let in; None for everybody.
        counts: What happened.
        shown: Called with the peer of each connection that is let in by its token.
    """

    def __init__(
        self, sessions: Sessions, tokens: TokenFile | None, counts: Counts, shown: Callable[[str], None]
    ) -> None:
        self._counts = counts
        self._shown = shown
        self._sessions = sessions
        self._tokens = tokens

    def handler(self) -> grpc.GenericRpcHandler:
        """For the server."""
        connect: Any = grpc.stream_stream_rpc_method_handler(self.Connect)
        return grpc.method_handlers_generic_handler(SERVICE, {"Connect": connect})

    async def Connect(self, requests: Any, context: Any) -> None:  # noqa: N802 - the RPC's name
        """See gateway.proto."""
        counts, began = self._counts, time.monotonic()
        try:
            self._authenticate(context)
            self._shown(context.peer())
            first = await self._first(context)
            session, received = await self._session(first)
        except errors.MantaError as refused:
            counts.refused[refused.code] = counts.refused.get(refused.code, 0) + 1
            counts.seconds.observe(time.monotonic() - began)
            await status.abort(context, refused)
            return
        counts.let_in["open" if first.HasField("open") else "resume"] += 1
        counts.seconds.observe(time.monotonic() - began)
        counts.connections += 1
        attachment = session.attach(received)
        telling = asyncio.ensure_future(self._tell(attachment, context))
        hearing = asyncio.ensure_future(self._hear(session, attachment, context))
        try:
            await asyncio.wait((telling, hearing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            session.detach(attachment)
            counts.connections -= 1
            for task in (telling, hearing):
                task.cancel()
            await asyncio.gather(telling, hearing, return_exceptions=True)

    # -- who is let in

    def _authenticate(self, context: Any) -> None:
        if self._tokens is None:
            return
        for key, value in context.invocation_metadata() or ():
            if key == auth.METADATA_KEY and isinstance(value, str) and value.startswith(auth.SCHEME):
                role = self._tokens.role_of(value[len(auth.SCHEME) :])
                if role < TokenRole.SUBMITTER:
                    raise errors.AuthenticationError(
                        f"a token of the role {role.name.lower()} may look and not run things; a driver needs submitter or admin"
                    )
                return
        raise errors.AuthenticationError("no token was shown; set MANTA_TOKEN or MANTA_TOKEN_FILE")

    async def _first(self, context: Any) -> gw.ConnectRequest:
        try:
            data = await asyncio.wait_for(context.read(), FIRST_MESSAGE_S)
        except TimeoutError:
            raise errors.ProtocolError(f"nothing was said within {FIRST_MESSAGE_S:.0f} s") from None
        if data is grpc.aio.EOF or len(data) > FIRST_MESSAGE_BYTES:
            raise errors.ProtocolError("the first message opens or resumes a session")
        try:
            return gw.ConnectRequest.FromString(data)
        except DecodeError as broken:
            raise errors.ProtocolError(f"the first message cannot be decoded: {broken}") from broken

    async def _session(self, first: gw.ConnectRequest) -> tuple[Session, int]:
        if first.HasField("resume") == first.HasField("open") or first.number or first.actions:
            raise errors.ProtocolError("the first message opens or resumes a session, and nothing else")
        wanted = first.open.protocol if first.HasField("open") else first.resume.protocol
        if wanted != PROTOCOL:
            raise errors.VersionMismatchError(
                f"the driver speaks version {wanted} of the gateway's protocol, this gateway (Manta {__version__}) version "
                f"{PROTOCOL}; use the same version of Manta on both sides"
            )
        if first.HasField("resume"):
            resume = first.resume
            return self._sessions.find(resume.session_id, resume.secret), resume.received
        opened = first.open
        ours = ".".join(map(str, sys.version_info[:3]))
        if opened.python.split(".")[:2] != ours.split(".")[:2]:
            raise errors.VersionMismatchError(
                f"the driver runs Python {opened.python or 'of no version'}, the cluster Python {ours}; their minor versions "
                "have to be the same, as pickled code fits no other"
            )
        hello = pb.Hello(
            job_config=opened.job_config, python=opened.python, namespace=opened.namespace, looks=opened.looks
        )
        return await self._sessions.open(hello), 0

    # -- messages

    async def _tell(self, attachment: Attachment, context: Any) -> None:
        """Pass on to the driver what its session says."""
        outgoing, counts = attachment.outgoing, self._counts
        while (data := await outgoing.get()) is not None:
            await context.write(data)
            counts.messages["out"] += 1
            counts.bytes["out"] += len(data)

    async def _hear(self, session: Session, attachment: Attachment, context: Any) -> None:
        """Pass on to the session what its driver says."""
        counts = self._counts
        while (data := await context.read()) is not grpc.aio.EOF:
            counts.messages["in"] += 1
            counts.bytes["in"] += len(data)
            if not session.take(attachment, data):
                return
            while session.backlog > HIGH_BYTES:  # noqa: ASYNC110 - the kernel's buffers have no event
                await asyncio.sleep(LOOK_S)
