"""What a call is run with: its function's code, and the values of objects among its arguments."""

from __future__ import annotations

from manta.client.refs import rebuild
from manta.client.values import Stored
from manta.core import errors
from manta.serde import deserialize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from manta.client.user import UserSession
    from manta.rpc.v1 import channel_pb2 as pb


class Functions:
    """Functions by the hash of their code: loaded at their first call, shared by all owners that sent the same."""

    __slots__ = ("_blobs", "_loaded", "refusal")

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}
        #: Why nothing can run here: the process's environment could not be made. Empty when it was.
        self.refusal = ""
        self._loaded: dict[bytes, Callable[..., Any]] = {}

    def define(self, digest: bytes, blob: bytes) -> None:
        """The code arrived."""
        self._blobs[digest] = blob

    def check(self) -> None:
        """Look whether anything can run here.

        Raises:
            RuntimeEnvSetupError: It cannot.
        """
        if self.refusal:
            raise errors.RuntimeEnvSetupError(self.refusal)

    def load(self, digest: bytes) -> Callable[..., Any]:
        """The function.

        Raises:
            RaySystemError: Its code did not arrive.
            DeserializationError: It cannot be loaded here.
            RuntimeEnvSetupError: See `check`.
        """
        self.check()
        function = self._loaded.get(digest)
        if function is None:
            blob = self._blobs.get(digest)
            if blob is None:
                raise errors.RaySystemError(f"the code of function {digest.hex()} did not arrive before its first task")
            function = self._loaded[digest] = deserialize(blob)
        return function


def fill(
    session: UserSession, args: tuple[Any, ...], kwargs: dict[str, Any], refs: Iterable[pb.ArgRef]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the values of objects where their refs stood. Large ones are waited for, all at once, and so are those that found no
    room in the frame.
    """
    filled = list(args)
    large = [ref for ref in refs if ref.size]
    views: dict[bytes, Any] = {}
    asked = [ref for ref in refs if not ref.size and not ref.value]
    if large:
        stored = {ref.object_id: Stored(ref.size, ref.node_id) for ref in large}
        wanted = list(stored)
        try:
            got = session.store.get(wanted, None, session.store.places(stored))
        except errors.ObjectLostError as lost:
            if type(lost) is not errors.ObjectLostError or not all(ref.owner.worker_id for ref in large):
                raise
            # Some may have moved since the call was sent: whoever sent it knows where they are now.
            asked += large
        else:
            assert got is not None
            views = dict(zip(wanted, got, strict=True))
    values: dict[bytes, Any] = {}
    if asked:
        found = session.get_many(
            [rebuild(ref.object_id, ref.owner.SerializeToString(deterministic=True)) for ref in asked], None
        )
        values = dict(zip([ref.object_id for ref in asked], found, strict=True))
    for ref in refs:
        if ref.value:
            value = deserialize(ref.value)
        else:
            view = views.get(ref.object_id)
            value = deserialize(view) if view is not None else values[ref.object_id]
        if ref.keyword:
            kwargs[ref.keyword] = value
        else:
            filled[ref.position] = value
    return tuple(filled), kwargs
