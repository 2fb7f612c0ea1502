"""Leads while it holds a Lease: performs what `tenure` decides."""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
from collections.abc import Callable
from typing import Any

from manta_operator.kube.errors import ApiError, KubeError, NotLeaderError
from manta_operator.kube.resources import LEASES, Key
from manta_operator.kube.tenure import Create, Look, Record, Take, Tenure, Terms, read_record
from manta_operator.kube.transport import Transport

log = logging.getLogger(__name__)


class Leadership:
    """One instance's part in who leads.

    Args:
        transport: Whom to ask. It should not share connections with much else: a renewal must not wait for a list.
        key: The Lease.
        identity: Of this instance; no two are the same, ever: a pod's UID.
        terms: How long things last.
        unit: Randomness in [0, 1).
    """

    def __init__(
        self,
        transport: Transport,
        key: Key,
        identity: str,
        *,
        terms: Terms | None = None,
        unit: Callable[[], float] = random.random,
    ) -> None:
        self.key, self.terms = key, terms or Terms()
        self.tenure = Tenure(identity, self.terms)
        self._transport, self._unit = transport, unit
        self._changed = asyncio.Event()
        self._record: Record | None = None
        #: How often this instance began to lead. What was left undone while it did not is done by whoever sees it grow.
        self.terms_begun = 0

    @property
    def leads(self) -> bool:
        """Whether this instance leads at this moment, and nobody else can."""
        return self.tenure.sure(asyncio.get_running_loop().time())

    def fence(self, write_s: float) -> None:
        """Before each write: raise unless it ends, at the latest, while this instance still leads.

        Args:
            write_s: The most that the write may take.

        Raises:
            NotLeaderError: It does not lead, or may not for that long.
        """
        if write_s > self.terms.write_s:
            raise ValueError(
                f"a write may take {self.terms.write_s:g} s, not {write_s:g}: longer ones outlive the lease"
            )
        if not self.leads:
            raise NotLeaderError

    async def leading(self) -> None:
        """Wait until this instance leads."""
        while not self.leads:
            self._changed.clear()
            await self._changed.wait()

    async def begun(self, after: int) -> int:
        """Wait until this instance has begun to lead more often than `after`; how often it has now."""
        while self.terms_begun <= after:
            self._changed.clear()
            await self._changed.wait()
        return self.terms_begun

    async def run(self) -> None:
        """Take the Lease when it is free, and keep it, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            pause_s = await self._step(loop)
            if self.leads:
                self._changed.set()
            await asyncio.sleep(pause_s * (1 - 0.2 * self._unit()))

    async def resign(self) -> None:
        """Begin no writes any more, and let the next one lead at once; after the last write has ended.

        Whatever goes wrong, the Lease runs out by itself.
        """
        record = self._record
        self.tenure.resigned()
        if record is None or record.holder != self.tenure.identity:
            return
        try:
            await self._give_back(record)
        except KubeError as error:
            log.warning("cannot give the lease back, it runs out by itself: %s", error)

    async def _give_back(self, record: Record) -> None:
        try:
            await self._put(Take(record, record.transitions), holder="")
        except ApiError as error:
            if error.status != 409:
                raise
            # A renewal that was on its way when we were told to end has arrived.
            now = await self._get()
            if now is not None and now.holder == self.tenure.identity:
                await self._put(Take(now, now.transitions), holder="")

    async def _step(self, loop: asyncio.AbstractEventLoop) -> float:
        """Look, and do what follows. Returns after how many seconds to do so again."""
        sent = loop.time()
        move: Create | Take | Look = Create()
        try:
            if self.leads and self._record is not None:
                # Our own version: nothing to look at. If it is no longer the Lease's, the write is refused.
                move = Take(self._record, self._record.transitions)
            else:
                move = self.tenure.saw(await self._get(), loop.time())
            if isinstance(move, Look):
                return move.after_s
            sent = loop.time()
            written = await self._put(move, holder=self.tenure.identity)
        except KubeError as error:
            # What was written may be there all the same; the next look shows. What we were sure of before still holds.
            self._record = None
            if isinstance(error, ApiError) and (error.status == 409 or error.not_found):
                # Not the Lease that we knew. It may still be ours (an answer was lost), but that has to be read first.
                self.tenure.refused()
                return 0.0 if isinstance(move, Take) else self.terms.look_s
            log.warning("lease %s: %s", self.key, error)
            return self.terms.look_s if not self.leads else 0.1
        self._record = written
        self.terms_begun += not self.leads
        self.tenure.wrote(written, sent)
        return self.terms.renew_s

    async def _get(self) -> Record | None:
        try:
            lease = await self._transport.call("GET", LEASES.path_of(self.key), timeout_s=self.terms.ask_s)
        except ApiError as error:
            if error.not_found:
                return None
            raise
        return read_record(lease, self.terms.lease_s)

    async def _put(self, move: Create | Take, *, holder: str) -> Record:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec: dict[str, Any] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": self.terms.lease_s,
            "renewTime": now,
            "leaseTransitions": move.transitions if isinstance(move, Take) else 0,
        }
        metadata: dict[str, Any] = {"name": self.key.name, "namespace": self.key.namespace}
        body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
        if isinstance(move, Create):
            method, path = "POST", LEASES.path(self.key.namespace)
        else:
            method, path = "PUT", LEASES.path_of(self.key)
            metadata["resourceVersion"] = move.record.version
        lease = await self._transport.call(method, path, body=body, timeout_s=self.terms.ask_s)
        return read_record(lease, self.terms.lease_s)
