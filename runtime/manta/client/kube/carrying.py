"""One connection inside one WebSocket of `pods/portforward`: bytes go both ways until one side has no more.

Frames are of `v4.channel.k8s.io`: the first byte is the channel. Channel 0 is the port's data, channel 1 tells what went wrong.
The first frame of each has the port's number, two bytes. There is no word for "I have said all, and listen on": the end of the
WebSocket is the end of the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import aiohttp

PROTOCOL: Final = "v4.channel.k8s.io"

_DATA, _ERROR = b"\0", b"\1"
#: Bytes taken at once; a frame stays far below what the other side takes, which is 32 MB.
READ_BYTES: Final = 256 << 10
#: Who has said all may still be answered; after so long without a byte nobody is expected to.
LINGER_S: Final = 5.0
#: Longest text of an error that is kept.
_WORDS: Final = 600

#: What WebSockets and sockets that break raise.
BROKEN: Final = (aiohttp.ClientError, OSError, RuntimeError)


class Carried:
    """One connection.

    Args:
        socket: The WebSocket.
        reader: What is to go through it.
        writer: Where what comes goes.
        on_error: Told what the other end says went wrong.
        halves: Whether our side may have said all and listen on. Nobody does over TLS.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_error: Callable[[str], None],
        *,
        halves: bool,
    ) -> None:
        self._socket, self._reader, self._writer, self._on_error = socket, reader, writer, on_error
        self._halves = halves
        #: How much has come.
        self._came = 0

    async def run(self) -> None:
        """Carry until it is over; both ends are closed then. Raises nothing but cancellation."""
        name = asyncio.current_task()
        called = name.get_name() if name is not None else "forward"
        inward = asyncio.create_task(self._inward(), name=f"{called} in")
        outward = asyncio.create_task(self._outward(), name=f"{called} out")
        both = (inward, outward)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not inward.done() and outward.result() and self._halves:
                await self._linger(inward)
        finally:
            for task in both:
                task.cancel()
            try:
                await asyncio.gather(*both, return_exceptions=True)
            finally:  # also when it is over already, and cancelled at this very moment
                self._writer.close()
                try:
                    await self._socket.close()
                except BROKEN:
                    pass

    async def _linger(self, inward: asyncio.Task[None]) -> None:
        """Our side has said all: go on as long as something comes."""
        came = -1
        while not inward.done() and came != self._came:
            came = self._came
            await asyncio.wait((inward,), timeout=LINGER_S)

    async def _outward(self) -> bool:
        """Until our side has said all; False if it, or the other one, is gone."""
        reader, send = self._reader, self._socket.send_bytes
        try:
            while data := await reader.read(READ_BYTES):
                await send(_DATA + data)
        except BROKEN:
            return False
        return True

    async def _inward(self) -> None:
        """Until the other side has said all, or our side is gone."""
        writer, receive = self._writer, self._socket.receive
        begun = [False, False]
        try:
            while True:
                message = await receive()
                if message.type is not aiohttp.WSMsgType.BINARY:
                    if message.type is aiohttp.WSMsgType.ERROR and isinstance(message.data, Exception):
                        self._on_error(f"the WebSocket broke: {message.data}")
                    return
                data = message.data
                channel = data[0] if data else 2
                if channel > 1:
                    continue
                start = 1
                if not begun[channel]:
                    begun[channel] = True
                    start = 3
                if len(data) <= start:
                    continue
                if channel:
                    self._on_error(" ".join(data[start : start + _WORDS].decode("utf-8", "replace").split()))
                    continue
                self._came += len(data)
                writer.write(memoryview(data)[start:])
                await writer.drain()
        except BROKEN:
            return
