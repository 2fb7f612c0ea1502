"""How a copy of a kind's objects is kept exact: what to read next, and what has changed. Pure: events in, steps out.

A copy is made by a list and kept by a watch from the list's version on. A watch that ends goes on from the last version seen,
bookmarks included, so that a restart costs nothing. Where that version is gone (410), everything is listed again, and what is no
longer there is deleted from the copy: nobody will ever send an event for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from manta.aio.backoff import Backoff
from manta_operator.kube.errors import ApiError, KubeError, api_error
from manta_operator.kube.resources import Key, key_of

#: Between failed attempts; also between watches that end without having brought anything.
BACKOFF = Backoff(first_s=0.2, factor=2.0, cap_s=30.0, jitter=0.5)


@dataclass(frozen=True, slots=True)
class Put:
    """An object is new, or another."""

    obj: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remove:
    """An object is no more."""

    key: Key


@dataclass(frozen=True, slots=True)
class ReadAll:
    """List everything, after a pause."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Follow:
    """Watch from a version on, after a pause."""

    version: str
    after_s: float


Step = Put | Remove | ReadAll | Follow


@dataclass(slots=True)
class Watching:
    """Where the copy of one kind stands.

    Attributes:
        keys: Of the objects that the copy has.
        version: From where a watch goes on; empty before the first list, and when that version is gone.
        failures: Attempts in a row that brought nothing.
    """

    keys: set[Key] = field(default_factory=set)
    version: str = ""
    failures: int = 0
    _moved: bool = False

    def start(self) -> list[Step]:
        """What to do first."""
        return [ReadAll(0.0)]

    def listed(self, items: list[dict[str, Any]], version: str) -> list[Step]:
        """A whole list has come."""
        here = {key_of(item) for item in items}
        gone: list[Step] = [Remove(key) for key in sorted(self.keys - here)]
        self.keys, self.version, self.failures, self._moved = here, version, 0, False
        return [*gone, *(Put(item) for item in items), Follow(version, 0.0)]

    def event(self, event: dict[str, Any]) -> list[Step]:
        """One event of a watch.

        Raises:
            ApiError: It is an error, which ends the watch; to be handed to `failed`.
        """
        kind, obj = event.get("type"), event.get("object")
        if kind == "ERROR" or not isinstance(obj, dict):
            code = obj.get("code", 500) if isinstance(obj, dict) else 500
            raise api_error("WATCH", code if isinstance(code, int) else 500, obj)
        version = obj.get("metadata", {}).get("resourceVersion")
        if version:
            self.version, self.failures, self._moved = str(version), 0, True
        match kind:
            case "ADDED" | "MODIFIED":
                self.keys.add(key_of(obj))
                return [Put(obj)]
            case "DELETED":
                self.keys.discard(key_of(obj))
                return [Remove(key_of(obj))]
            case "BOOKMARK":
                return []
        raise ApiError("WATCH", 500, "", f"an event of an unknown type {kind!r}")

    def ended(self, unit: float) -> list[Step]:
        """A watch has ended by itself, as all do after some minutes. One that brought nothing is not begun again at once.

        Args:
            unit: Randomness in [0, 1).
        """
        moved, self._moved = self._moved, False
        return [Follow(self.version, 0.0 if moved else self._pause_s(unit))]

    def failed(self, error: KubeError, unit: float) -> list[Step]:
        """A list or a watch has failed.

        Args:
            error: How.
            unit: Randomness in [0, 1).
        """
        self._moved = False
        if isinstance(error, ApiError) and error.expired:
            # The server is there, however long it was not: the list that follows is not put off for that.
            self.version, self.failures = "", 0
        pause_s = self._pause_s(unit)
        if isinstance(error, ApiError):
            pause_s = max(pause_s, min(error.retry_after_s or 0.0, BACKOFF.cap_s))
        return [Follow(self.version, pause_s) if self.version else ReadAll(pause_s)]

    def _pause_s(self, unit: float) -> float:
        self.failures += 1
        return BACKOFF.delay_s(self.failures - 1, unit)
