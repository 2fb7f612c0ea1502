"""Copies of several kinds, in one namespace, some, or all: a reflector for each kind and namespace, a store for each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from manta.aio.supervisor import Supervisor
from manta_operator.kube.reflector import Limits, Reflector
from manta_operator.kube.resources import Resource
from manta_operator.kube.store import Index, Store
from manta_operator.kube.transport import Transport


@dataclass(frozen=True, slots=True)
class Cached:
    """A kind of which there is a copy.

    Attributes:
        resource: The kind.
        selector: Of which labels; empty for all objects.
        indexes: What they are found by.
        trim: What is kept of each.
        needed: Whether nothing can be decided without. What may be forbidden is not.
        fields: Of which fields; empty for all objects.
        keep: Of the objects that come, which are kept, given the other copies: those that are needed are read before.
        bookmarks: Whether the API server sends any for this kind. For Events it does not, whoever asks: it keeps no cache of
            them, and what comes straight from etcd has no bookmarks (kubernetes/kubernetes#120348).
    """

    resource: Resource
    selector: str = ""
    indexes: Mapping[str, Index] = field(default_factory=dict)
    trim: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    needed: bool = True
    fields: str = ""
    keep: Callable[[Caches, dict[str, Any]], bool] | None = None
    bookmarks: bool = True


class Caches:
    """The copies.

    Args:
        transport: Whom to ask.
        kinds: Of what.
        namespaces: Where; none for everywhere. Kinds without namespaces are read as a whole in any case.
        limits: Of reflectors.
    """

    def __init__(
        self,
        transport: Transport,
        kinds: Sequence[Cached],
        namespaces: Sequence[str] = (),
        *,
        limits: Limits | None = None,
    ) -> None:
        self._stores: dict[Resource, Store] = {}
        self._reflectors: dict[tuple[Resource, str], Reflector] = {}
        self._needed: list[Reflector] = []
        self._later: list[Reflector] = []
        for kind in kinds:
            store = self._stores[kind.resource] = Store(kind.indexes, kind.trim)
            for namespace in namespaces if namespaces and kind.resource.namespaced else [""]:
                reflector = Reflector(
                    transport,
                    kind.resource,
                    store,
                    namespace=namespace,
                    selector=kind.selector,
                    fields=kind.fields,
                    keep=None if kind.keep is None else partial(kind.keep, self),
                    bookmarks=kind.bookmarks,
                    limits=limits,
                )
                self._reflectors[kind.resource, namespace] = reflector
                if kind.needed:
                    self._needed.append(reflector)
                if kind.keep is not None:
                    self._later.append(reflector)

    def __contains__(self, resource: Resource) -> bool:
        return resource in self._stores

    def __getitem__(self, resource: Resource) -> Store:
        """A kind's store. Raises KeyError for one that is not copied."""
        return self._stores[resource]

    @property
    def reflectors(self) -> list[Reflector]:
        """All of them."""
        return list(self._reflectors.values())

    @property
    def unsynced(self) -> list[str]:
        """What has not been listed yet, of what is needed."""
        return sorted({one.resource.plural for one in self._needed if not one.synced.is_set()})

    def unread(self, now: float) -> dict[Resource, tuple[float, str]]:
        """Kinds that are needed and cannot be read at present: for how many seconds, and why. What was seen last is still there.

        Args:
            now: Of the monotonic clock.
        """
        found: dict[Resource, tuple[float, str]] = {}
        for one in self._needed:
            # Read once: another thread may ask.
            since = one.failing_since
            if since is not None and now - since >= found.get(one.resource, (0.0, ""))[0]:
                found[one.resource] = (max(0.0, now - since), one.failure)
        return found

    def listed(self, resource: Resource) -> bool:
        """Whether a kind is copied and its copy is whole: before, what is not in it may exist all the same."""
        mine = [one for (of, _), one in self._reflectors.items() if of == resource]
        return bool(mine) and all(one.synced.is_set() for one in mine)

    def seen(self, resource: Hashable, namespace: str) -> int:
        """The version up to which a kind's copy has everything of a namespace. Versions are one line per kind, and numbers."""
        assert isinstance(resource, Resource)
        reflector = self._reflectors.get((resource, "")) or self._reflectors.get((resource, namespace))
        return 0 if reflector is None else reflector.version

    def start(self, tasks: Supervisor) -> None:
        """Begin to read, and go on until the supervisor ends."""
        for (resource, namespace), reflector in self._reflectors.items():
            _ = tasks.start(self._read(reflector), name=f"read {resource.plural} {namespace}".strip())

    async def _read(self, reflector: Reflector) -> None:
        if reflector in self._later:
            await self.synced()
        await reflector.run()

    async def synced(self) -> None:
        """Wait until everything that is needed has been listed."""
        await asyncio.gather(*(one.synced.wait() for one in self._needed))
