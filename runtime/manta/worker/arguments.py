"""What a call is run with: its function's code, and the values of objects among its arguments."""

from __future__ import annotations

from manta.client.values import Stored
from manta.core import errors
from manta.serde import deserialize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from manta.client.store import StoreClient
    from manta.rpc.v1 import channel_pb2 as pb


class Functions:
    """Functions by the hash of their code: loaded at their first call, shared by all owners that sent the same."""

    __slots__ = ("_blobs", "_loaded")

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}
        self._loaded: dict[bytes, Callable[..., Any]] = {}

    def define(self, digest: bytes, blob: bytes) -> None:
        """The code arrived."""
        self._blobs[digest] = blob

    def load(self, digest: bytes) -> Callable[..., Any]:
        """The function.

        Raises:
            RaySystemError: Its code did not arrive.
            DeserializationError: It cannot be loaded here.
        """
        function = self._loaded.get(digest)
        if function is None:
            blob = self._blobs.get(digest)
            if blob is None:
                raise errors.RaySystemError(f"the code of function {digest.hex()} did not arrive before its first task")
            function = self._loaded[digest] = deserialize(blob)
        return function


def fill(
    store: StoreClient, args: tuple[Any, ...], kwargs: dict[str, Any], refs: Iterable[pb.ArgRef]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the values of objects where their refs stood. Large ones are waited for, all at once."""
    filled = list(args)
    large = [ref for ref in refs if ref.size]
    views: dict[bytes, Any] = {}
    if large:
        stored = {ref.object_id: Stored(ref.size, ref.node_id) for ref in large}
        wanted = list(stored)
        got = store.get(wanted, None, store.places(stored.values()))
        assert got is not None
        views = dict(zip(wanted, got, strict=True))
    for ref in refs:
        data = views[ref.object_id] if ref.size else ref.value
        value = deserialize(data)
        if ref.keyword:
            kwargs[ref.keyword] = value
        else:
            filled[ref.position] = value
    return tuple(filled), kwargs
