"""Connections between raylets that have carried one object and wait for the next: a handshake costs more than a small object.

Whoever dialled keeps them for a shorter time than the other side does, so that a connection is hardly ever taken up at the
moment at which it is closed. Where that happens all the same, it is dialled anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import Frame
from manta.transport.channel_aio import AsyncConnection
from manta.transport.tcp import FarSocket

#: How long a connection is kept that this node dialled, and one that others dialled, seconds.
DIALLED_S: Final = 5.0
ANSWERED_S: Final = 15.0
#: Connections kept on either side; more are closed.
MAX_KEPT: Final = 64


class Dialled:
    """Those that this node dialled, by node."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._kept: dict[bytes, dict[FarSocket, asyncio.TimerHandle]] = {}
        self._count = 0

    def take(self, node_id: bytes) -> FarSocket | None:
        """One to that node, the last that was used; None when there is none."""
        nodes = self._kept.get(node_id)
        if nodes is None:
            return None
        far, timer = nodes.popitem()
        timer.cancel()
        self._taken(node_id)
        return far

    def keep(self, node_id: bytes, far: FarSocket) -> None:
        """It has carried an object to its end, and nothing is under way on it."""
        if self._count >= MAX_KEPT:
            far.close()
            return
        timer = self._loop.call_later(DIALLED_S, self._over, node_id, far)
        self._kept.setdefault(node_id, {})[far] = timer
        self._count += 1

    def forget(self, node_id: bytes) -> None:
        """The node is dead."""
        while (far := self.take(node_id)) is not None:
            far.close()

    def close(self) -> None:
        """Close all."""
        for node_id in list(self._kept):
            self.forget(node_id)

    def _over(self, node_id: bytes, far: FarSocket) -> None:
        del self._kept[node_id][far]
        self._taken(node_id)
        far.close()

    def _taken(self, node_id: bytes) -> None:
        self._count -= 1
        if not self._kept[node_id]:
            del self._kept[node_id]

    def __len__(self) -> int:
        return self._count


class Answered:
    """Those that other nodes dialled.

    Args:
        asked: Another object is wanted over one of them.
    """

    def __init__(self, asked: Callable[[AsyncConnection, pb.PullObject], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked = asked
        self._kept: dict[AsyncConnection, asyncio.TimerHandle] = {}

    def keep(self, far: FarSocket) -> None:
        """It has carried an object to its end, and nothing is under way on it."""
        if len(self._kept) >= MAX_KEPT:
            far.close()
            return
        try:
            far.give_back()
            connection = AsyncConnection(far, self._frames, self._closed)
        except (OSError, ValueError):
            far.close()
            return
        self._kept[connection] = self._loop.call_later(ANSWERED_S, connection.close, "nothing more is wanted")

    def close(self) -> None:
        """Close all."""
        for connection in list(self._kept):
            connection.close("the node stops")

    def _frames(self, connection: AsyncConnection, frames: list[Frame]) -> None:
        _number, message, raw = frames[0]
        if len(frames) > 1 or raw or not isinstance(message, pb.PullObject):
            raise ProtocolError("what follows a transfer is one PullObject")
        self._asked(connection, message)

    def _closed(self, connection: AsyncConnection, _reason: str) -> None:
        timer = self._kept.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def __len__(self) -> int:
        return len(self._kept)
