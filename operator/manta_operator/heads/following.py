"""Follows the heads on which this operator has jobs: performs what `mirror` decides.

A head is followed while somebody wants something of it. Whoever wants to hear is told of every change, and of every beginning
and end of a stream; nobody asks heads how things are.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from manta.aio.backoff import Backoff
from manta.aio.supervisor import Supervisor
from manta_operator.heads.client import Head, HeadError
from manta_operator.heads.endpoint import Endpoint
from manta_operator.heads.jobs import HeadJob
from manta_operator.heads.mirror import Mirror
from manta_operator.kube.resources import Key

log = logging.getLogger(__name__)

#: Between streams that fail.
BACKOFF: Final = Backoff(first_s=0.2, factor=2.0, cap_s=10.0, jitter=0.5)

#: Told of a cluster and of the submission ids that are others now; None: all of them may be.
Changed = Callable[[Key, Collection[str] | None], None]


@dataclass(slots=True)
class _Followed:
    """One head."""

    endpoint: Endpoint
    head: Head
    mirror: Mirror
    task: asyncio.Task[None] | None
    #: Since when it is not heard, in seconds since 1970; None while it is.
    silent_since: float | None
    #: UIDs of MantaJobs for which it is followed.
    wanted_by: set[str] = field(default_factory=set)


class Heads:
    """All heads that are followed.

    Args:
        session: Connections; see `client.connections`.
        tasks: Parent of those that listen.
        prefix: Of this operator's submission ids.
        changed: Told of every change.
        clock: Seconds since 1970.
        unit: Randomness in [0, 1).
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        tasks: Supervisor,
        prefix: str,
        changed: Changed,
        *,
        clock: Callable[[], float] = time.time,
        unit: Callable[[], float] = random.random,
    ) -> None:
        self._session, self._tasks, self._prefix, self._changed = session, tasks, prefix, changed
        self._clock, self._unit = clock, unit
        self._followed: dict[Key, _Followed] = {}

    def __len__(self) -> int:
        return len(self._followed)

    def want(self, cluster: Key, endpoint: Endpoint | None, job: str) -> None:
        """Follow a cluster's head for a MantaJob's sake, from now on at this endpoint; None: nobody is there now."""
        found = self._followed.get(cluster)
        if found is not None and found.endpoint != endpoint:
            wanted_by = found.wanted_by
            self._drop(cluster)
            if endpoint is not None:
                self._follow(cluster, endpoint, wanted_by)
        elif found is None and endpoint is not None:
            self._follow(cluster, endpoint, set())
        if cluster in self._followed:
            self._followed[cluster].wanted_by.add(job)

    def unwant(self, cluster: Key, job: str) -> None:
        """A MantaJob needs nothing of the head any more."""
        found = self._followed.get(cluster)
        if found is not None:
            found.wanted_by.discard(job)
            if not found.wanted_by:
                self._drop(cluster)

    def synced(self, cluster: Key) -> bool:
        """Whether a job that `jobs` does not have does not exist on the cluster's head."""
        found = self._followed.get(cluster)
        return found is not None and found.mirror.synced

    def memory(self, cluster: Key) -> str:
        """The name of the memory of the cluster's head; empty before it was heard."""
        found = self._followed.get(cluster)
        return "" if found is None else found.mirror.memory

    def silent_since(self, cluster: Key) -> float | None:
        """Since when a head that is followed is not heard, in seconds since 1970; None if it is, or is not followed."""
        found = self._followed.get(cluster)
        return None if found is None else found.silent_since

    def jobs(self, cluster: Key) -> Mapping[str, HeadJob]:
        """What the cluster's head knows, as far as it was heard."""
        found = self._followed.get(cluster)
        return {} if found is None else found.mirror.jobs

    async def submit(self, cluster: Key, body: dict[str, Any]) -> None:
        """Have a job be there; raises HeadError."""
        followed = self._of(cluster)
        await followed.head.submit(body)
        submission_id = str(body["submission_id"])
        followed.mirror.submitted(submission_id)
        self._changed(cluster, {submission_id})

    async def stop(self, cluster: Key, submission_id: str) -> None:
        """Ask a job to stop; raises HeadError. An event tells of its end."""
        _ = await self._of(cluster).head.stop(submission_id)

    def _of(self, cluster: Key) -> _Followed:
        found = self._followed.get(cluster)
        if found is None:
            raise HeadError(0, "", f"the head of {cluster} is not known")
        return found

    def _follow(self, cluster: Key, endpoint: Endpoint, wanted_by: set[str]) -> None:
        try:
            head = Head(self._session, endpoint)
        except HeadError as wrong:
            log.warning("the head of %s cannot be followed: %s", cluster, wrong)
            return
        followed = _Followed(endpoint, head, Mirror(), None, self._clock(), wanted_by)
        self._followed[cluster] = followed
        followed.task = self._tasks.start(self._listen(cluster, followed), name=f"jobs of {cluster}")

    def _drop(self, cluster: Key) -> None:
        task = self._followed.pop(cluster).task
        if task is not None:
            task.cancel()

    async def _listen(self, cluster: Key, followed: _Followed) -> None:
        mirror, failures = followed.mirror, 0
        while True:
            try:
                mirror.opened()
                async with followed.head.events(self._prefix) as events:
                    async for event in events:
                        was = mirror.synced
                        changed = mirror.event(event)
                        if mirror.synced and not was:
                            failures, followed.silent_since = 0, None
                            self._changed(cluster, None)
                        elif changed:
                            self._changed(cluster, changed)
            except (HeadError, ValueError) as error:
                if not failures:
                    log.warning("the jobs of %s cannot be followed: %s", cluster, error)
            was = mirror.synced
            mirror.broken()
            if was:
                followed.silent_since = self._clock()
                self._changed(cluster, None)
            failures += 1
            await asyncio.sleep(BACKOFF.delay_s(failures - 1, self._unit()))
