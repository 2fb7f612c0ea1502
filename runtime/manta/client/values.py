"""What this process knows of objects: small values, places of large ones, failures; and who waits for them."""

from __future__ import annotations

from manta.client.waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from manta.rpc.v1 import channel_pb2 as pb

#: Largest value kept in its owner's memory and carried inside frames. Larger ones live in a node's arena.
INLINE_BYTES = 100 * 1024


class Stored:
    """A value too large to carry: where it is."""

    __slots__ = ("here", "node_id", "size")

    def __init__(self, size: int, node_id: bytes, here: bool = True) -> None:
        #: Bytes.
        self.size = size
        #: The node whose arena holds the primary copy.
        self.node_id = node_id
        #: It is on this process's node, or has been fetched there, and may have been evicted since.
        self.here = here


class Failure:
    """A value that is an error, in the fields its worker gave. Unpickled by its reader only."""

    __slots__ = ("fields", "read")

    def __init__(self, fields: pb.TaskFailure) -> None:
        self.fields = fields
        #: Somebody has seen it: raised it, passed it on, or made a task fail by it.
        self.read = False


#: A value: its bytes, its place, or why there is none.
Value = bytes | Stored | Failure


class Values:
    """Values by object id, and who waits for which.

    Flat on purpose: `known` and `watchers` are plain dicts that the result path looks into without a call.
    """

    __slots__ = ("known", "watchers")

    def __init__(self) -> None:
        self.known: dict[bytes, Value] = {}
        #: Objects somebody waits for, each with who does, an object with a `ready(oid, value)`; a list where several do.
        self.watchers: dict[bytes, Any] = {}

    def set(self, oid: bytes, value: Value) -> None:
        """An object is there. Called under the process's lock."""
        self.known[oid] = value
        watcher = self.watchers.pop(oid, None)
        if watcher is None:
            return
        if type(watcher) is list:
            for one in watcher:
                one.ready(oid, value)
        else:
            watcher.ready(oid, value)

    def watch(self, oid: bytes, watcher: Any) -> None:
        """Call `watcher.ready(oid, value)` once the object is there; it is not yet."""
        before = self.watchers.get(oid)
        if before is None:
            self.watchers[oid] = watcher
        elif type(before) is list:
            before.append(watcher)
        else:
            self.watchers[oid] = [before, watcher]

    def watch_all(self, oids: Sequence[bytes], watcher: Any) -> None:
        """`watch` for each, where nobody watches them yet at C speed: a program waits for a thousand refs one by one."""
        fresh = dict.fromkeys(oids, watcher)
        if len(fresh) == len(oids) and (not self.watchers or self.watchers.keys().isdisjoint(fresh)):
            self.watchers.update(fresh)
        else:
            for oid in oids:
                self.watch(oid, watcher)

    def unwatch(self, oids: Iterable[bytes], watcher: Any) -> None:
        """Forget a watcher."""
        watchers = self.watchers
        for oid in oids:
            before = watchers.get(oid)
            if before is watcher:
                del watchers[oid]
            elif type(before) is list and watcher in before:
                before.remove(watcher)
                if not before:
                    del watchers[oid]


class All(Waiter):
    """Waits until `missing` objects are there, or one of them failed."""

    __slots__ = ("_finish", "failed", "missing")

    def __init__(self, missing: int, finish: Callable[[Waiter], None]) -> None:
        super().__init__()
        self.missing = missing
        self.failed: bytes | None = None
        self._finish = finish

    def ready(self, oid: bytes, value: Value) -> None:
        """One of them is there."""
        self.missing -= 1
        if type(value) is Failure and self.failed is None:
            self.failed = oid
            self._finish(self)
        elif not self.missing:
            self._finish(self)


class Some(Waiter):
    """Waits until `wanted` more objects are there; a failed one counts."""

    __slots__ = ("_finish", "wanted")

    def __init__(self, wanted: int, finish: Callable[[Waiter], None]) -> None:
        super().__init__()
        self.wanted = wanted
        self._finish = finish

    def ready(self, oid: bytes, value: Value) -> None:
        """One of them is there."""
        self.wanted -= 1
        if not self.wanted:
            self._finish(self)


class Call:
    """A watcher that calls a function."""

    __slots__ = ("ready",)

    def __init__(self, ready: Callable[[bytes, Value], None]) -> None:
        self.ready = ready
