"""Readers that wait: a request for several objects is answered when the last of them is there.

What is there already is pinned at once, so that it is still there then.
"""

from collections.abc import Hashable, Sequence

from manta.raylet.objects.commands import Client, Command, Gone, Ready
from manta.raylet.objects.records import Get, Object, Process
from manta.raylet.objects.sealed import Sealed


class Gets:
    """The waiting requests by the objects they wait for.

    Args:
        sealed: What is there.
        processes: Who is there.

    Attributes:
        by_id: Requests that wait for an id; a dict as an ordered set. Changed by the methods only.
    """

    __slots__ = ("_processes", "_sealed", "by_id")

    def __init__(self, sealed: Sealed, processes: dict[Client, Process]) -> None:
        self._sealed, self._processes = sealed, processes
        self.by_id: dict[bytes, dict[Get, None]] = {}

    def add(
        self, client: Client, process: Process, request_id: Hashable, ids: Sequence[bytes], cause: Hashable
    ) -> None:
        """A request waits from now on; some of its objects are missing, none is deleted."""
        objects = self._sealed.by_id
        missing: set[bytes] = set()
        found: dict[bytes, Object] = {}
        for object_id in ids:
            item = objects.get(object_id)
            if item is None:
                missing.add(object_id)
            else:
                self._sealed.pin(item, client, process)
                found[object_id] = item
        get = process.gets[request_id] = Get(client, request_id, tuple(ids), missing, found, cause)
        process.awaited += len(ids)
        for object_id in missing:
            self.by_id.setdefault(object_id, {})[get] = None

    def sealed(self, item: Object, out: list[Command]) -> None:
        """An object is there: pin it for who waits for it, answer who has everything now."""
        object_id = item.object_id
        for get in self.by_id.pop(object_id, ()):
            process = self._processes[get.client]
            for _ in range(get.ids.count(object_id)):
                self._sealed.pin(item, get.client, process)
            get.found[object_id] = item
            get.missing.discard(object_id)
            if not get.missing:
                del process.gets[get.request_id]
                process.awaited -= len(get.ids)
                places = tuple((each, get.found[each].offset, get.found[each].size) for each in get.ids)
                out.append(Ready(get.client, get.request_id, places, get.cause))

    def deleted(self, object_id: bytes, now: float, cause: Hashable, out: list[Command]) -> None:
        """Nobody will want this object any more: who waits for it is told."""
        for get in list(self.by_id.get(object_id, ())):
            self.end(get, self._processes[get.client], now, cause)
            out.append(Gone(get.client, get.request_id, object_id, get.cause))

    def end(self, get: Get, process: Process, now: float, cause: Hashable) -> None:
        """This request ends unanswered; its pins go."""
        self.unlist(get)
        del process.gets[get.request_id]
        process.awaited -= len(get.ids)
        for object_id in get.ids:
            item = process.pins.get(object_id)
            # A client may have released a pin that it was not told of: its own loss.
            if item is not None and item is get.found.get(object_id):
                self._sealed.unpin(item, get.client, process, 1, now, cause)

    def unlist(self, get: Get) -> None:
        """Nobody answers this request any more; its pins stay."""
        for object_id in get.missing:
            waiting = self.by_id[object_id]
            del waiting[get]
            if not waiting:
                del self.by_id[object_id]
