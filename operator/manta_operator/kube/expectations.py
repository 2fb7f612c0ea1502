"""What was written and is not yet seen: decisions wait for it, so that an old picture makes nobody do things twice. Pure.

Objects of a kind have versions that grow. A write is seen once the copy of its kind has come as far as the version that the
write was answered with. A copy that does not get there in time is decided upon all the same: every write is safe to repeat, so
waiting saves requests and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

#: How long a decision waits for the copies.
PATIENCE_S = 10.0


class Written(NamedTuple):
    """A write that was answered.

    Attributes:
        kind: Plural and group of what was written.
        namespace: Of the object.
        version: Its resourceVersion after the write.
    """

    kind: Hashable
    namespace: str
    version: int


class Expectations:
    """For each key, writes that its next decision has to see.

    Args:
        patience_s: How long one is waited for.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        #: By key and place the newest version, and until when it is waited for.
        self._awaited: dict[Hashable, dict[tuple[Hashable, str], tuple[int, float]]] = {}

    def __len__(self) -> int:
        """How many keys wait."""
        return len(self._awaited)

    def wrote(self, key: Hashable, kind: Hashable, namespace: str, version: str, now: float) -> None:
        """An object was written for a key; a version that is no number is not waited for.

        Args:
            key: For whom.
            kind: What.
            namespace: Where.
            version: Its resourceVersion.
            now: Seconds.
        """
        if not (version.isascii() and version.isdigit()):
            return
        places = self._awaited.setdefault(key, {})
        newest = max(int(version), places.get((kind, namespace), (0, 0.0))[0])
        places[kind, namespace] = (newest, now + self._patience_s)

    def behind(self, key: Hashable, seen: Callable[[Hashable, str], int], now: float) -> float | None:
        """After how many seconds to decide although the copies are behind; None if they are not, or were given up.

        Args:
            key: Whose decision.
            seen: How far the copy of a kind in a namespace has come.
            now: Seconds.
        """
        places = self._awaited.get(key)
        if places is None:
            return None
        for place, (version, until) in list(places.items()):
            if until <= now or seen(*place) >= version:
                del places[place]
        if not places:
            del self._awaited[key]
            return None
        return max(until for _, until in places.values()) - now

    def forget(self, key: Hashable) -> None:
        """Nobody decides for this key any more."""
        self._awaited.pop(key, None)
