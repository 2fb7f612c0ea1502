"""One factory process as the raylet sees it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from manta.core.errors import ProtocolError
from manta.raylet.workers.launch import Launched
from manta.raylet.workers.process import Watch
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import Frame
from manta.transport.channel_aio import AsyncConnection


class FactoryHandle:
    """A running `python -m manta.worker`. Forks are asked for at once, even before it is ready: they wait in its socket.

    Args:
        launched: From `launch`.
        last_words: Reads what it wrote to its log.
        on_forked: Called with (worker id, pid, error); pid is 0 when the fork failed.
        on_exited: Called with (pid, status) of a worker.
        on_gone: Called once with this handle when the factory has ended; its workers end with it.
    """

    def __init__(
        self,
        *,
        launched: Launched,
        last_words: Callable[..., str],
        on_forked: Callable[[bytes, int, str], None],
        on_exited: Callable[[int, int], None],
        on_gone: Callable[[FactoryHandle], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.last_words = last_words
        self._on_forked, self._on_exited, self._on_gone = on_forked, on_exited, on_gone
        self.pid, ours = launched
        self._connection = AsyncConnection(ours, self._frames, self._closed, loop=loop)
        self._watch = Watch(loop, self.pid, self._ended)
        self.closing = False
        #: It forks nothing any more, and goes with its last worker.
        self.retired = False

    def fork(self, order: pb.Fork) -> None:
        """Ask for one worker."""
        self._connection.send(order)

    def close(self) -> None:
        """End the factory and with it every worker that is left."""
        self.closing = True
        self._connection.close()

    def kill(self) -> None:
        """End it the hard way; its workers go by the kernel's hand."""
        self._watch.kill()

    def abort(self) -> None:
        """End it the hard way, having it say where it stands."""
        self._watch.abort()

    def _frames(self, _connection: AsyncConnection, frames: list[Frame]) -> None:
        for _number, message, _raw in frames:
            if isinstance(message, pb.Forked):
                self._on_forked(message.worker_id, message.pid, message.error)
            elif isinstance(message, pb.Exited):
                self._on_exited(message.pid, message.status)
            else:
                raise ProtocolError(f"a factory sends Forked and Exited, got {type(message).__name__}")

    def _closed(self, _connection: AsyncConnection, _reason: str) -> None:
        # Its end is what counts, not its socket's. A factory that closes its socket has nothing to live for.
        if not self.closing:
            self._watch.kill(signal.SIGTERM)

    def _ended(self, _pid: int) -> None:
        self._connection.close()
        self._on_gone(self)
