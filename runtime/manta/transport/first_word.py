"""What a server says first, to who started it: that it is ready and where it serves, or why it never will be.

It goes through a pipe that the process inherits (`--ready-fd`), once, and the pipe's end without a word says that the process is
gone. A module of its own, as both sides start fast: it loads protobuf and the errors' table only when something has failed.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

#: Enough for the longest word: what fits into a pipe at once.
LONGEST_BYTES = 65536

_READY, _FAILED = b"\1", b"\0"


class Starter:
    """Who started this process and waits for its first word.

    Args:
        fd: Where it listens; -1: nobody waits. Closed once something was said.
    """

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd

    def ready(self, where: str = "") -> None:
        """All is ready, and there."""
        self._say(_READY + where.encode())

    def failed(self, why: BaseException) -> None:
        """This process will never be ready."""
        if self._fd >= 0:
            from manta.transport.convert import error_to_proto

            self._say(_FAILED + error_to_proto(why).SerializeToString())

    def _say(self, word: bytes) -> None:
        # The number may be somebody else's as soon as it is closed.
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            os.write(fd, word)
        except OSError:
            pass  # who waited is gone
        finally:
            os.close(fd)


def add_flag(parser: argparse.ArgumentParser) -> None:
    """Let a server be told who waits: `flags.starter`."""
    parser.add_argument(
        "--ready-fd", dest="starter", type=lambda text: Starter(int(text)), default=Starter(), metavar="FD",
        help="descriptor that is told once when all is ready, and where",
    )  # fmt: skip


def understand(word: bytes) -> str:
    """Where a server is ready, by its first word as it was read from the pipe.

    Raises:
        EOFError: It ended without one.
        MantaError: Why it never will be ready.
    """
    if word[:1] == _READY:
        return word[1:].decode()
    if len(word) < 2:
        raise EOFError("it ended before it was ready")
    from manta.rpc.v1 import common_pb2 as common
    from manta.transport.convert import error_from_proto

    raise error_from_proto(common.ErrorInfo.FromString(word[1:]))
