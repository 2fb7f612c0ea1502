"""The session's token: 256 random bits that every process of a cluster shows and checks.

Standard library only, as drivers and workers use it too; gRPC's side of it is in `transport.grpc`.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Characters of a token: 32 bytes in hex.
TOKEN_LENGTH = 64
#: Most that is read of a file of tokens.
_MOST_BYTES = 1024
#: Metadata key and scheme that carry it over gRPC.
METADATA_KEY = "authorization"
SCHEME = "Bearer "


def new_token() -> str:
    """A fresh token."""
    return os.urandom(TOKEN_LENGTH // 2).hex()


def write_token(path: str, token: str) -> None:
    """Leave a token in a file that only its owner can read."""
    write_private(path, token.encode())


def write_private(path: str, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file that others see whole or not at all: it is written beside and renamed.

    Args:
        path: Where.
        content: All of it.
        mode: Its permissions; by default for its owner alone.
    """
    beside = f"{path}.{os.getpid()}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException as error:
        os.close(descriptor)
        os.unlink(beside)
        if isinstance(error, OSError):
            # The system names no file where writing fails.
            error.filename = path
        raise
    os.close(descriptor)
    os.replace(beside, path)


def read_token(path: str) -> str:
    """Read a token back: the one in the file, or the first of two while they are changed. Raises as `read_tokens`."""
    return read_tokens(path)[0]


def read_tokens(path: str) -> tuple[str, ...]:
    """Every token in a file, one a line: the first is shown to others, all are taken from them.

    Raises:
        AuthenticationError: The file is absent, readable by others, or holds something else.
    """
    from manta.core.errors import AuthenticationError

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AuthenticationError(f"The token file {path} cannot be read: {error.strerror}") from error
    try:
        if not is_private(descriptor):
            raise AuthenticationError(f"The token file {path} can be read by others; chmod 600 it")
        tokens = tuple(os.read(descriptor, _MOST_BYTES).decode("ascii", "replace").split())
    finally:
        os.close(descriptor)
    if not tokens or any(len(token) != TOKEN_LENGTH or not set(token) <= set("0123456789abcdef") for token in tokens):
        raise AuthenticationError(f"The token file {path} holds no token of {TOKEN_LENGTH} hex digits")
    return tokens


def is_private(descriptor: int, mounts: str = "/proc/self/mountinfo") -> bool:
    """Whether a file holds a secret as it should: nobody but its owner can read it, or it is a Secret that a kubelet has mounted.

    Args:
        descriptor: The open file.
        mounts: For tests.

    A pod's Secret is root's and can be read by the pod's group, or by everybody: that is how a process that is not root gets to
    read it at all, and no program in the container can change it. What keeps others out is that only this container has it
    mounted. So a file passes if it is root's, nobody else can write to it, and it lies in memory (tmpfs) that is mounted here
    read-only, which is what a kubelet does and nobody does by mistake: a file on a read-only disk does not pass.
    """
    status = os.fstat(descriptor)
    if not status.st_mode & 0o077:
        return True
    if status.st_uid != 0 or status.st_mode & 0o022:
        return False
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    try:
        with open(mounts) as file:
            rows = [line.split(" - ", 1) for line in file]
    except OSError:
        return False
    found = False
    for row in rows:
        left, right = row[0].split(), row[-1].split()
        if left[2:3] == [device]:
            # Wherever else the same memory is mounted in this container: nowhere can it be written to.
            if len(row) != 2 or right[:1] != ["tmpfs"] or "ro" not in "".join(left[5:6]).split(","):
                return False
            found = True
    return found


class JoinTokens:
    """The join tokens that are valid now, from a file that may change: a call reads it again if it has.

    A file that cannot be read any more leaves them as they were: an editor's half-written file must not lock everybody out.
    """

    __slots__ = ("_path", "_stamp", "_tokens")

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp = self._look()
        self._tokens = read_tokens(path)

    def __call__(self) -> tuple[str, ...]:
        """Those that are valid now."""
        from manta.core.errors import AuthenticationError

        stamp = self._look()
        if stamp != self._stamp:
            try:
                self._tokens = read_tokens(self._path)
                self._stamp = stamp
            except AuthenticationError:
                pass
        return self._tokens

    def _look(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino


def accepts(valid: Sequence[str], shown: str) -> bool:
    """Whether what was shown is one of the valid tokens, in time that doesn't depend on where they differ.

    Args:
        valid: Several at once are valid while tokens are rotated.
        shown: What the other side sent.
    """
    from hmac import compare_digest

    given = shown.encode("utf-8", "surrogateescape")
    # Every one is compared: stopping early would tell which one it was.
    found = False
    for token in valid:
        found |= compare_digest(token.encode(), given)
    return found


def metadata(token: str) -> tuple[tuple[str, str], ...]:
    """What a gRPC call carries to be let in; nothing for an empty token."""
    return ((METADATA_KEY, SCHEME + token),) if token else ()
