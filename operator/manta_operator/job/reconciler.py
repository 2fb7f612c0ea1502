"""Looks after MantaJobs: gather, plan, apply. Level-triggered: at any time, any number of times."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from manta.aio.backoff import Backoff
from manta_operator.api.job import JobStatus, MantaJob
from manta_operator.api.parse import InvalidObjectError, parse_job, read_status
from manta_operator.heads.client import HeadError
from manta_operator.heads.endpoint import PORT
from manta_operator.heads.following import Heads
from manta_operator.job import status as words
from manta_operator.job.actions import Stop, Submit
from manta_operator.job.apply import Apply, Tell
from manta_operator.job.gather import Copies, cluster_key, gather, head_of
from manta_operator.job.kinds import JOBS
from manta_operator.job.plan import plan
from manta_operator.job.seen import Refusal
from manta_operator.job.submission import uid_of
from manta_operator.job.tries import over
from manta_operator.kube.errors import ApiError
from manta_operator.kube.resources import Key
from manta_operator.kube.writer import Writer

log = logging.getLogger(__name__)

#: Between words to a head that it did not answer, or refused for now.
BACKOFF: Final = Backoff(first_s=1.0, factor=2.0, cap_s=60.0, jitter=0.0)
#: How long a copy may lag behind our own last write until it is believed all the same, seconds.
LAG_S: Final = 10.0
#: After a write that came too late: the event of what came first brings us back, as a rule.
AGAIN_S: Final = 1.0


@dataclass(slots=True)
class _Known:
    """What is remembered of one object between two looks. After a restart it is found out anew."""

    uid: str
    cluster: Key
    refusal: Refusal | None = None
    #: Words to the head in a row that were in vain.
    failures: int = 0
    #: Version of the object after our last write, and when that was.
    version: int = 0
    wrote_at: float = 0.0


class JobReconciler:
    """Looks after MantaJobs.

    Args:
        copies: Of MantaJobs, MantaClusters, and the operator's pods and Secrets.
        writer: Writes to the API server.
        heads: Makes what follows heads, given whom to tell of changes.
        wake: Brings an object back for a look.
        fence: Called before each word to a head; see `apply`.
        tell: Events.
        clock: Seconds since 1970.
        port: Of dashboards, for tests.
    """

    def __init__(
        self,
        copies: Copies,
        writer: Writer,
        heads: Callable[[Callable[[Key, Collection[str] | None], None]], Heads],
        wake: Callable[[Key], None],
        *,
        fence: Callable[[float], None],
        tell: Tell | None = None,
        clock: Callable[[], float] = time.time,
        port: int = PORT,
    ) -> None:
        self._copies, self._writer, self._wake = copies, writer, wake
        self._fence, self._tell, self._clock, self._port = fence, tell, clock, port
        self.heads = heads(self._changed)
        self._known: dict[Key, _Known] = {}
        #: Objects that have not ended, by the cluster that they name, by UID.
        self._active: dict[Key, dict[str, Key]] = {}

    def on(self, cluster: Key) -> list[Key]:
        """Jobs to look after when something about a cluster has changed."""
        return list(self._active.get(cluster, {}).values())

    async def reconcile(self, key: Key) -> float | None:
        """Bring one MantaJob further. Returns after how many seconds to look again even if nothing happens.

        Raises:
            NotLeaderError: Another instance does it.
            KubeError: A write was refused; to be tried again.
        """
        raw, now = self._copies[JOBS].get(key), self._clock()
        known = self._known.get(key)
        if known is not None and (raw is None or raw["metadata"].get("uid") != known.uid):
            self._forget(key, known)
            known = None
        if raw is None:
            return None
        if known is not None and _version(raw) < known.version and now < known.wrote_at + LAG_S:
            return known.wrote_at + LAG_S - now  # the event of our own write is on its way
        try:
            job = parse_job(raw)
        except InvalidObjectError as wrong:
            await self._invalid(raw, wrong, now)
            return None
        cluster = cluster_key(job)
        known = self._known.setdefault(key, _Known(job.metadata.uid, cluster))
        return await self._look(key, raw, job, known, now)

    async def _look(self, key: Key, raw: dict[str, Any], job: MantaJob, known: _Known, now: float) -> float | None:
        ended = over(read_status(JobStatus, raw))
        cluster, endpoint = head_of(self._copies, known.cluster, port=self._port)
        if ended:
            self._rest(known)
        else:
            self._active.setdefault(known.cluster, {})[known.uid] = key
            self.heads.want(known.cluster, endpoint, known.uid)
        seen = gather(raw, job, cluster, self.heads, known.refusal)
        decided = plan(seen, now)
        apply = Apply(raw, known.cluster, self._writer, self.heads, self._fence, self._tell)
        try:
            await apply.perform(decided)
            if any(isinstance(one, Submit | Stop) for one in decided.actions):
                known.failures, known.refusal = 0, None
        except HeadError as error:
            submitted = next((one.submission_id for one in decided.actions if isinstance(one, Submit)), "")
            return self._refused(known, submitted, error, now)
        except ApiError as error:
            if not error.conflict:
                raise
            return AGAIN_S
        finally:
            if apply.version.isdigit() and int(apply.version) > known.version:
                known.version, known.wrote_at = int(apply.version), now
        return None if decided.again_at is None else max(0.0, decided.again_at - self._clock())

    def _refused(self, known: _Known, submission: str, error: HeadError, now: float) -> float:
        """A head did not do it. Returns after how many seconds to look again."""
        log.warning("the head of %s did not do its part for %s: %s", known.cluster, submission or known.uid, error)
        delay_s = BACKOFF.delay_s(known.failures, 0.0)
        known.failures += 1
        if submission and error.status:
            known.refusal = Refusal(
                submission_id=submission,
                code=error.code,
                message=error.message,
                final=error.final,
                again_at=now + delay_s,
            )
            return 0.0
        return delay_s

    async def _invalid(self, raw: dict[str, Any], wrong: InvalidObjectError, now: float) -> None:
        before = read_status(JobStatus, raw)
        said = words.invalid(before, int(raw["metadata"].get("generation", 0)), wrong, now)
        if said != before:
            await Apply(raw, Key("", ""), self._writer, self.heads, self._fence, self._tell).say(said)

    def _rest(self, known: _Known) -> None:
        """Nothing more is wanted of the head."""
        active = self._active.get(known.cluster, {})
        active.pop(known.uid, None)
        if not active:
            self._active.pop(known.cluster, None)
        self.heads.unwant(known.cluster, known.uid)

    def _forget(self, key: Key, known: _Known) -> None:
        self._rest(known)
        del self._known[key]

    def _changed(self, cluster: Key, ids: Collection[str] | None) -> None:
        active = self._active.get(cluster, {})
        uids = active if ids is None else {uid_of(one) for one in ids}
        for uid in uids:
            if uid in active:
                self._wake(active[uid])


def _version(raw: dict[str, Any]) -> int:
    version = str(raw["metadata"].get("resourceVersion", ""))
    return int(version) if version.isdigit() else 0
