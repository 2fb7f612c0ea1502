"""Keeps a store an exact copy of a kind's objects: performs what `watching` decides."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manta_operator.kube.errors import ApiError, KubeError
from manta_operator.kube.resources import Resource
from manta_operator.kube.store import Store
from manta_operator.kube.transport import Transport
from manta_operator.kube.watching import Follow, Put, ReadAll, Remove, Step, Watching

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take.

    Attributes:
        page: Objects of one answer of a list. While it is read it is whole: a hundred pods are two megabytes and more of JSON.
        answer_s: Until a page of a list has come, or a watch has begun.
        watch_s: After which the server ends a watch, give or take a quarter: connections move on to other servers.
        unmarked_watch_s: The same of a kind without bookmarks. The next watch begins at the last version that was seen, which is
            gone if nothing came for five to ten minutes (etcd is compacted), and then everything is listed again: they are few.
            An hour is what the API server gives whoever asks for no time.
        silence_s: Without a byte a watch is taken for dead. More than a minute, the time between bookmarks.
    """

    page: int = 100
    answer_s: float = 30.0
    watch_s: float = 300.0
    unmarked_watch_s: float = 3600.0
    silence_s: float = 90.0


class Reflector:
    """One kind, in one namespace or in all.

    Args:
        transport: Whom to ask.
        resource: The kind.
        store: What is kept; others that write to it do so for other namespaces.
        namespace: Empty for all.
        selector: A label selector; objects that leave it are as good as deleted.
        fields: A field selector; the same.
        keep: Of what comes, which objects there are for this store: others are as good as not there. None for all.
        bookmarks: Whether the API server sends any for this kind: if not, a watch may be silent for as long as it lives, and the
            kernel alone notices that nobody is there.
        limits: How long things may take.
        unit: Randomness in [0, 1).
    """

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        store: Store,
        *,
        namespace: str = "",
        selector: str = "",
        fields: str = "",
        keep: Callable[[dict[str, Any]], bool] | None = None,
        bookmarks: bool = True,
        limits: Limits | None = None,
        unit: Callable[[], float] = random.random,
    ) -> None:
        self.resource, self.store = resource, store
        #: Set once the first list has come: before, what is not in the store may exist all the same.
        self.synced = asyncio.Event()
        #: How often everything was listed, a watch was begun, and something failed.
        self.lists = self.watches = self.failures = 0
        #: Why it cannot be read at present, and since when (of the monotonic clock); empty and None while it can.
        self.failure = ""
        self.failing_since: float | None = None
        self._transport, self._path = transport, resource.path(namespace)
        self._query = {"labelSelector": selector} if selector else {}
        if fields:
            self._query["fieldSelector"] = fields
        self._keep = keep or (lambda obj: True)
        self._limits, self._unit = limits or Limits(), unit
        self._watch_s = self._limits.watch_s if bookmarks else self._limits.unmarked_watch_s
        self._silence_s = self._limits.silence_s + (0.0 if bookmarks else 1.25 * self._watch_s)
        self._watching = Watching()

    @property
    def version(self) -> int:
        """Everything up to this version is in the store; 0 where nothing is, or versions are no numbers."""
        version = self._watching.version
        return int(version) if self.synced.is_set() and version.isascii() and version.isdigit() else 0

    async def run(self) -> None:
        """Until cancelled. What fails is tried again, for ever; the store then shows what was last seen."""
        steps = self._watching.start()
        while True:
            steps = await self._perform(steps)

    async def _perform(self, steps: list[Step]) -> list[Step]:
        """Do the steps; the last is a read, and what follows from it is returned."""
        for step in steps:
            match step:
                case Put(obj):
                    self.store.put_trimmed(obj)  # of a list
                case Remove(key):
                    self.store.remove(key)
                case ReadAll(after_s) | Follow(_, after_s):
                    if isinstance(step, Follow):
                        self.synced.set()  # whatever the list brought is in the store
                    await asyncio.sleep(after_s)
                    return await self._read(step)
        raise AssertionError("steps end with a read")

    async def _read(self, step: ReadAll | Follow) -> list[Step]:
        try:
            if isinstance(step, ReadAll):
                return self._watching.listed(*await self._list())
            await self._follow(step.version)
            return self._watching.ended(self._unit())
        except KubeError as error:
            self.failures += 1
            if not (isinstance(error, ApiError) and error.expired):
                log.warning("cannot read %s: %s", self._path, error)
                self._cannot(error)
            return self._watching.failed(error, self._unit())

    async def _list(self) -> tuple[list[dict[str, Any]], str]:
        """Everything, trimmed, page by page. Not from a cache (no resourceVersion): never older than what was seen before."""
        self.lists += 1
        query = {**self._query, "limit": str(self._limits.page)}
        items: list[dict[str, Any]] = []
        while True:
            page = await self._transport.call("GET", self._path, query=query, timeout_s=self._limits.answer_s)
            self._can()
            metadata = page.get("metadata") or {}
            # Trimmed page by page: whole, a thousand pods are fifty megabytes, which Python would not give back.
            items += [self.store.trim(one) for one in page.get("items") or [] if self._keep(one)]
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def _follow(self, version: str) -> None:
        self.watches += 1
        query = {
            **self._query,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(self._watch_s * (0.75 + 0.5 * self._unit())) or 1),
        }
        limits = self._limits
        watch = self._transport.watch(self._path, query, connect_s=limits.answer_s, silence_s=self._silence_s)
        async with watch as events:
            self._can()
            async for event in events:
                for step in self._watching.event(self._kept(event)):
                    match step:
                        case Put(obj):
                            self.store.put(obj)
                        case Remove(key):
                            self.store.remove(key)

    def _kept(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event as it is for this store: whatever is not kept has gone."""
        if event.get("type") in ("ADDED", "MODIFIED") and isinstance(event.get("object"), dict):
            return event if self._keep(event["object"]) else {**event, "type": "DELETED"}
        return event

    def _can(self) -> None:
        self.failure, self.failing_since = "", None

    def _cannot(self, error: KubeError) -> None:
        self.failure = str(error)
        if self.failing_since is None:
            self.failing_since = time.monotonic()
