"""Who follows jobs is told of every change: a copy of what is written of all jobs, and for each follower what changed since.

A follower gets states, not a history: a job that changed twice before it looked is told once, as it is now. So what waits for a
slow one is bounded by the number of jobs, and whoever was cut off begins with everything and has missed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from manta.core.errors import OverloadedError
from manta.jobs.states import Facts

#: Followers at a time: an operator, and some people with scripts.
MOST_FOLLOWERS: Final = 32


class Follower:
    """What one who follows has not been told yet."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._changed: dict[str, None] = {}
        self._something = asyncio.Event()

    def changed(self, job_id: str) -> None:
        """A job is new, another, or gone."""
        if job_id.startswith(self._prefix):
            self._changed[job_id] = None
            self._something.set()

    def wake(self) -> None:
        """Let `wait` return, whether or not something changed."""
        self._something.set()

    async def wait(self, timeout_s: float) -> None:
        """Until something changed, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._something.wait()

    def take(self) -> list[str]:
        """Ids of what changed since the last time, in the order of the changes."""
        self._something.clear()
        changed, self._changed = list(self._changed), {}
        return changed


class Feed:
    """What is known of all jobs."""

    def __init__(self) -> None:
        self._known: dict[str, Facts] = {}
        self._followers: set[Follower] = set()
        #: Everything that control has was read: what is not known does not exist.
        self.whole = False
        #: The name of control's memory; see `Records.memory`.
        self.memory = ""

    def get(self, job_id: str) -> Facts | None:
        """What is known of a job; None if there is none."""
        return self._known.get(job_id)

    def put(self, facts: Facts) -> None:
        """Something was read or written. What was written once stays: two who read at a time may be told in any order."""
        job_id: str = facts.job["submission_id"]
        before = self._known.get(job_id)
        if before is not None:
            facts = Facts(
                facts.job,
                facts.run or before.run,
                facts.stop or before.stop,
                facts.end or before.end,
                facts.placed or before.placed,
            )
        if facts != before:
            self._known[job_id] = facts
            self._tell(job_id)

    def remove(self, job_id: str) -> None:
        """A job was forgotten."""
        if self._known.pop(job_id, None) is not None:
            self._tell(job_id)

    def all_read(self, memory: str) -> None:
        """From now on what is not known does not exist, in the memory of that name."""
        self.whole, self.memory = True, memory
        for follower in self._followers:
            follower.wake()

    @contextmanager
    def follow(self, prefix: str) -> Iterator[Follower]:
        """Be told, from now on, of jobs whose id begins so; all that are known are told first.

        Raises:
            OverloadedError: Too many follow.
        """
        if len(self._followers) >= MOST_FOLLOWERS:
            raise OverloadedError(f"{MOST_FOLLOWERS} connections follow jobs already: end some")
        follower = Follower(prefix)
        for job_id in self._known:
            follower.changed(job_id)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    def _tell(self, job_id: str) -> None:
        for follower in self._followers:
            follower.changed(job_id)
