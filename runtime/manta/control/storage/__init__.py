"""Where control's memory survives: an interface of four verbs, `sqlite` for real and `memory` as its double.

Both pass `manta.testing.storage.check_storage`. A store knows bytes only; `control.records` knows what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from manta.core.errors import StorageUnwritableError

#: (table, key, value).
Record: TypeAlias = tuple[int, bytes, bytes]
#: (table, key, value); a value of None forgets the record.
StoreWrite: TypeAlias = tuple[int, bytes, bytes | None]


class Shortage(NamedTuple):
    """Nothing that makes the store grow should be taken on.

    Attributes:
        error: Why, with what is free and what to do: for whoever asks for it.
        stuck: Even what is decided already cannot be written. It stays queued and is tried again.
    """

    error: StorageUnwritableError
    stuck: bool


class Storage(Protocol):
    """A durable map of (table, key) to bytes, written in numbered batches.

    `open` and `close` block and are called from a thread; the others belong to the event loop's thread.
    """

    @property
    def name(self) -> str:
        """What messages call it: its path."""

    @property
    def committed(self) -> int:
        """Number of the last batch that is durable, all earlier ones with it."""

    def open(self) -> list[Record]:
        """Take possession and read everything.

        Raises:
            StoreInUseError: Another process has it.
            StoreCorruptError: A record is not what was written.
            StoreVersionError: It is of another version.
            StoreError: It can't be opened.
        """

    def start(
        self,
        on_commit: Callable[[int], None],
        on_failure: Callable[[BaseException], None],
        on_shortage: Callable[[Shortage | None], None] = lambda shortage: None,
    ) -> None:
        """Begin to write. All are called on the event loop.

        Args:
            on_commit: Hears the number of each group's last batch.
            on_failure: Hears, once, the error after which nothing is written any more.
            on_shortage: Hears that there is no room, or no more than a reserve; and with None that there is again.
        """

    def submit(self, writes: Sequence[StoreWrite]) -> int:
        """Queue one batch, which becomes durable as a whole or not at all, after all before it.

        Returns:
            Its number, one more than the last one's.
        """

    def close(self) -> None:
        """Write what is queued, then let go. Safe to call twice, and without `open`."""

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
