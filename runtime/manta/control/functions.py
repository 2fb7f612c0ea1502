"""The table of functions: what actors are started from and must outlive whoever brought it, by content hash.

That is code of their classes, and their folders in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from manta.control.commands import Command, Table, Write
from manta.control.errors import FunctionNotFoundError, InvalidRequestError, LimitExceededError
from manta.control.model import ActorId, JobId


@dataclass(slots=True)
class _Function:
    blob: bytes
    #: Running jobs that put it.
    jobs: set[JobId] = field(default_factory=set)
    #: Actors that may still be started from it.
    actors: set[ActorId] = field(default_factory=set)
    #: Of those, the durable ones; while there are any it is in the store.
    durable: set[ActorId] = field(default_factory=set)


class FunctionTable:
    """Code by hash; kept while a job that put it runs or an actor needs it.

    Args:
        limit_bytes: All code together may take so much.
    """

    def __init__(self, limit_bytes: int = 1 << 30) -> None:
        self._limit = limit_bytes
        self._rows: dict[bytes, _Function] = {}
        self._bytes = 0

    def restore(self, function_hash: bytes, blob: bytes) -> None:
        """Take a row from the store; actors that need it are restored afterwards."""
        self._rows[function_hash] = _Function(blob)
        self._bytes += len(blob)

    def put(self, job_id: JobId, function_hash: bytes, blob: bytes) -> None:
        """Keep code for a running job.

        Raises:
            InvalidRequestError: Other code has this hash.
            LimitExceededError: The table would grow too large.
        """
        row = self._rows.get(function_hash)
        if row is None:
            if self._bytes + len(blob) > self._limit:
                raise LimitExceededError(
                    f"a blob of {len(blob)} bytes does not fit: code and folders of actors take {self._bytes} of at most"
                    f" {self._limit} bytes"
                )
            row = self._rows[function_hash] = _Function(blob)
            self._bytes += len(blob)
        elif row.blob != blob:
            raise InvalidRequestError(f"other code is known under the hash {function_hash.hex()}")
        row.jobs.add(job_id)

    def get(self, function_hash: bytes) -> bytes:
        """The code.

        Raises:
            FunctionNotFoundError: It was never put, or nothing needs it any more.
        """
        row = self._rows.get(function_hash)
        if row is None:
            raise FunctionNotFoundError(f"no function with the hash {function_hash.hex()} is known; put it first")
        return row.blob

    def need(self, hashes: Sequence[bytes], actor_id: ActorId, durable: bool, out: list[Command]) -> None:
        """An actor may be started from them until they are `unneeded`.

        Raises:
            FunctionNotFoundError: One is not there; nothing has changed.
        """
        blobs = [self.get(each) for each in hashes]
        for function_hash, blob in zip(hashes, blobs, strict=True):
            row = self._rows[function_hash]
            row.actors.add(actor_id)
            if durable and actor_id not in row.durable:
                if not row.durable:
                    out.append(Write(Table.FUNCTIONS, function_hash, blob))
                row.durable.add(actor_id)

    def unneeded(self, hashes: Sequence[bytes], actor_id: ActorId, out: list[Command]) -> None:
        """That actor is dead."""
        for function_hash in hashes:
            row = self._rows.get(function_hash)
            if row is None:
                continue
            row.actors.discard(actor_id)
            if actor_id in row.durable:
                row.durable.discard(actor_id)
                if not row.durable:
                    out.append(Write(Table.FUNCTIONS, function_hash, None))
            self._forget(function_hash, row)

    def job_finished(self, job_id: JobId) -> None:
        """A job that may have put code is over."""
        for function_hash, row in list(self._rows.items()):
            row.jobs.discard(job_id)
            self._forget(function_hash, row)

    def drop_unneeded(self, out: list[Command]) -> None:
        """After restoring: forget code that no restored actor needs."""
        for function_hash, row in list(self._rows.items()):
            if not row.durable and not row.jobs:
                out.append(Write(Table.FUNCTIONS, function_hash, None))
                self._forget(function_hash, row)

    def restored_need(self, hashes: Sequence[bytes], actor_id: ActorId) -> None:
        """A restored durable actor needs them; they are in the store already."""
        for function_hash in hashes:
            row = self._rows.get(function_hash)
            if row is not None:
                row.actors.add(actor_id)
                row.durable.add(actor_id)

    def _forget(self, function_hash: bytes, row: _Function) -> None:
        if not row.jobs and not row.actors and self._rows.pop(function_hash, None) is not None:
            self._bytes -= len(row.blob)

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        for row in self._rows.values():
            assert row.jobs or row.actors
            assert row.durable <= row.actors
        assert sum(len(row.blob) for row in self._rows.values()) == self._bytes <= self._limit

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {"functions": len(self._rows), "functions_bytes": self._bytes}
