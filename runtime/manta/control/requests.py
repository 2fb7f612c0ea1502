"""The memory that makes repeating safe: answers already given, by request id."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from manta.control.commands import Command, Table, Write


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer given.

    Attributes:
        answer: Its few bytes; the rest is read from the tables again.
        number: Order of arrival.
    """

    answer: bytes
    number: int


class RequestTable:
    """The latest answers.

    Args:
        kept: How many are remembered. A repetition is recognised if fewer mutating requests came in between; clients
            repeat within seconds, so this is minutes of full load.
    """

    def __init__(self, kept: int = 50_000) -> None:
        self._kept = kept
        # An OrderedDict where the oldest goes first: a plain dict looks past every hole that was left before it.
        self._rows: OrderedDict[bytes, Answered] = OrderedDict()
        #: Which of them are in the store.
        self._durable: set[bytes] = set()
        self._next = 1

    def restore(self, rows: list[tuple[bytes, Answered]]) -> None:
        """Take the rows from the store."""
        for request_id, row in sorted(rows, key=lambda pair: pair[1].number):
            self._rows[request_id] = row
            self._durable.add(request_id)
            self._next = row.number + 1

    def answer(self, request_id: bytes) -> bytes | None:
        """What was answered to this very request; None if it is new."""
        row = self._rows.get(request_id)
        return None if row is None else row.answer

    def remember(self, request_id: bytes, answer: bytes, durable: bool, out: list[Command]) -> None:
        """Note an answer, in the same commit as what it tells of."""
        row = Answered(answer, self._next)
        self._next += 1
        self._rows[request_id] = row
        if durable:
            self._durable.add(request_id)
            out.append(Write(Table.REQUESTS, request_id, row))
        if len(self._rows) > self._kept:
            oldest = next(iter(self._rows))
            del self._rows[oldest]
            if oldest in self._durable:
                self._durable.discard(oldest)
                out.append(Write(Table.REQUESTS, oldest, None))

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        assert len(self._rows) <= self._kept
        assert self._durable <= set(self._rows)
        numbers = [row.number for row in self._rows.values()]
        assert numbers == sorted(numbers)

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {"requests_remembered": len(self._rows), "requests_answered": self._next - 1}
