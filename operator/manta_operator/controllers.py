"""A controller: which objects it looks after, what makes it look, and how it looks. `app` runs a plain list of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from manta.aio.supervisor import Supervisor
from manta_operator.kube.caches import Caches
from manta_operator.kube.errors import NotLeaderError
from manta_operator.kube.queue import Queue
from manta_operator.kube.resources import Key, Resource, key_of
from manta_operator.metrics import Metrics

log = logging.getLogger(__name__)

#: Of each controller. They wait for the API server most of the time.
WORKERS = 32

#: Makes of a changed object the keys of those that have to be looked after.
Keys = Callable[[dict[str, Any]], Iterable[Key]]


@dataclass(frozen=True, slots=True)
class Watched:
    """A kind whose changes make a controller look.

    Attributes:
        resource: The kind; one that is not copied (nodes may be forbidden) is passed over.
        keys: Of whom to look after when such an object comes, changes or goes.
    """

    resource: Resource
    keys: Keys


@dataclass(frozen=True, slots=True)
class Controller:
    """One kind of custom resource and who looks after it.

    Attributes:
        name: For metrics and logs.
        resource: The kind that it looks after.
        watched: Kinds whose changes make it look, beside that one.
        reconcile: Looks after one object, given its key; returns after how many seconds to look again anyway, or None. Called
            for objects that are gone too. May be repeated and cut short at any time.
        workers: How many objects are looked after at a time.
    """

    name: str
    resource: Resource
    watched: tuple[Watched, ...]
    reconcile: Callable[[Key], Awaitable[float | None]]
    workers: int = WORKERS


def owned_by(kind: str) -> Keys:
    """Keys of the owner in charge, if it is of a kind."""

    def keys(obj: dict[str, Any]) -> list[Key]:
        metadata = obj["metadata"]
        return [
            Key(metadata.get("namespace", ""), owner["name"])
            for owner in metadata.get("ownerReferences") or []
            if owner.get("controller") and owner.get("kind") == kind
        ]

    return keys


class Running:
    """A controller at work.

    Args:
        controller: Which.
        caches: Where objects are.
        leads: Whether this instance leads: others do nothing.
        metrics: Told of each look.
    """

    def __init__(self, controller: Controller, caches: Caches, leads: Callable[[], bool], metrics: Metrics) -> None:
        self.controller = controller
        self._caches, self._leads, self._metrics = caches, leads, metrics
        self.queue: Queue[Key] = Queue(lambda key: key.namespace, self._look_after, waited=self._waited)
        metrics.queue(controller.name, lambda: len(self.queue))
        for result in ("done", "failed"):
            # There from the start, at nought: an alert about what fails needs a series before anything has.
            metrics.reconciles.labels(controller.name, result)
        for watched in (Watched(controller.resource, lambda obj: [key_of(obj)]), *controller.watched):
            if watched.resource in caches:
                caches[watched.resource].listen(self._listener(watched.keys))

    def wake(self, key: Key) -> None:
        """Look after one object soon."""
        self.queue.add(key)

    def wake_all(self) -> None:
        """Look after every object there is."""
        for obj in self._caches[self.controller.resource].all():
            self.queue.add(key_of(obj))

    def start(self, tasks: Supervisor) -> None:
        """Begin to work."""
        for number in range(self.controller.workers):
            _ = tasks.start(self.queue.work(), name=f"{self.controller.name} worker {number}")

    def _listener(self, keys: Keys) -> Callable[[dict[str, Any] | None, dict[str, Any] | None], None]:
        def changed(before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
            if before is not None and after is not None and _alike(before, after):
                return  # a node's heartbeat, say: nothing of what is kept
            # Both: an object may be another's now.
            for obj in (before, after):
                if obj is not None:
                    for key in keys(obj):
                        self.queue.add(key)

        return changed

    def _waited(self, seconds: float) -> None:
        self._metrics.queue_seconds.labels(self.controller.name).observe(seconds)

    async def _look_after(self, key: Key) -> float | None:
        if not self._leads():
            raise NotLeaderError
        began, result = time.monotonic(), "failed"
        try:
            again = await self.controller.reconcile(key)
            result = "done"
        except NotLeaderError:
            result = "not leader"
            raise
        except asyncio.CancelledError:
            result = "cut short"
            raise
        finally:
            name = self.controller.name
            self._metrics.reconciles.labels(name, result).inc()
            self._metrics.reconcile_seconds.labels(name).observe(time.monotonic() - began)
        if self._caches[self.controller.resource].get(key) is None:
            self.queue.forget(key)
        return again


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two states of an object differ in their version alone."""

    def metadata(obj: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}

    return one.keys() == other.keys() and all(
        metadata(one) == metadata(other) if name == "metadata" else one[name] == other[name] for name in one
    )
