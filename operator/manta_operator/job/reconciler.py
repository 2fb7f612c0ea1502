"""Looks after MantaJobs: gather, plan, apply. Level-triggered: at any time, any number of times."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from manta.aio.backoff import Backoff
from manta_operator.api.job import JobStatus, MantaJob
from manta_operator.api.parse import InvalidObjectError, parse_job, read_status
from manta_operator.builders.labels import CLUSTER as CLUSTER_LABEL
from manta_operator.controllers import Controller, Watched
from manta_operator.heads.client import HeadError
from manta_operator.heads.following import Changed, Heads
from manta_operator.job import status as words
from manta_operator.job.actions import Stop, Submit
from manta_operator.job.apply import Apply
from manta_operator.job.gather import cluster_key, gather, head_of
from manta_operator.job.plan import plan
from manta_operator.job.seen import Refusal
from manta_operator.job.submission import uid_of
from manta_operator.job.tries import over
from manta_operator.kinds import CLUSTERS, JOBS
from manta_operator.kube.caches import Caches
from manta_operator.kube.errors import ApiError
from manta_operator.kube.expectations import Expectations
from manta_operator.kube.recorder import Recorder
from manta_operator.kube.resources import PODS, SECRETS, Key, key_of
from manta_operator.kube.writer import Writer

log = logging.getLogger(__name__)

#: Between words to a head that it did not answer, or refused for now.
BACKOFF: Final = Backoff(first_s=1.0, factor=2.0, cap_s=60.0, jitter=0.0)
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


class JobReconciler:
    """Looks after MantaJobs.

    Args:
        caches: The copies.
        writer: For writes.
        recorder: For events.
        heads: Makes what follows heads, given whom to tell of changes.
        wake: Brings an object back for a look.
        leads: Whether this instance leads.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        caches: Caches,
        writer: Writer,
        recorder: Recorder,
        heads: Callable[[Changed], Heads],
        wake: Callable[[Key], None],
        *,
        leads: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._caches, self._writer, self._recorder, self._wake = caches, writer, recorder, wake
        self._leads, self._clock = leads, clock
        self.heads = heads(self._changed)
        self._expectations = Expectations()
        self._known: dict[Key, _Known] = {}
        #: Objects that have not ended, by the cluster that they name, by UID.
        self._active: dict[Key, dict[str, Key]] = {}

    def controller(self) -> Controller:
        """For `app`."""
        watched = (
            Watched(CLUSTERS, lambda cluster: self._on(key_of(cluster))),
            Watched(PODS, self._on_child),
            Watched(SECRETS, self._on_child),
        )
        return Controller("job", JOBS, watched, self.reconcile)

    async def reconcile(self, key: Key) -> float | None:
        """Bring one MantaJob further. Returns after how many seconds to look again even if nothing happens.

        Raises:
            NotLeaderError: Another instance does it.
            KubeError: A write was refused; to be tried again.
        """
        raw, now = self._caches[JOBS].get(key), self._clock()
        known = self._known.get(key)
        if known is not None and (raw is None or raw["metadata"].get("uid") != known.uid):
            self._forget(key, known)
            known = None
        if raw is None:
            return None
        late_s = self._expectations.behind(key, self._caches.seen, time.monotonic())
        if late_s is not None:
            return late_s  # the event of our own write is on its way: that brings it back, or this does
        try:
            job = parse_job({**raw, "apiVersion": JOBS.api_version, "kind": JOBS.kind})
        except InvalidObjectError as wrong:
            await self._invalid(raw, wrong, now)
            return None
        cluster = cluster_key(job)
        known = self._known.setdefault(key, _Known(job.metadata.uid, cluster))
        return await self._look(key, raw, job, known, now)

    async def _look(self, key: Key, raw: dict[str, Any], job: MantaJob, known: _Known, now: float) -> float | None:
        ended = over(read_status(JobStatus, raw))
        cluster, endpoint = head_of(self._caches, known.cluster)
        if ended:
            self._rest(known)
        else:
            self._active.setdefault(known.cluster, {})[known.uid] = key
            self.heads.want(known.cluster, endpoint, known.uid)
        seen = gather(raw, job, cluster, self.heads, known.refusal)
        decided = plan(seen, now)
        apply = self._apply(raw, known.cluster)
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
            await self._apply(raw, Key("", "")).say(said)

    def _apply(self, raw: dict[str, Any], cluster: Key) -> Apply:
        key = key_of(raw)

        def wrote(obj: Mapping[str, Any]) -> None:
            version = str((obj.get("metadata") or {}).get("resourceVersion") or "")
            self._expectations.wrote(key, JOBS, key.namespace, version, time.monotonic())

        return Apply(raw, cluster, self._writer, self.heads, self._recorder, leads=self._leads, wrote=wrote)

    def _rest(self, known: _Known) -> None:
        """Nothing more is wanted of the head."""
        active = self._active.get(known.cluster, {})
        active.pop(known.uid, None)
        if not active:
            self._active.pop(known.cluster, None)
        self.heads.unwant(known.cluster, known.uid)

    def _forget(self, key: Key, known: _Known) -> None:
        self._rest(known)
        self._expectations.forget(key)
        del self._known[key]

    def _changed(self, cluster: Key, ids: Collection[str] | None) -> None:
        active = self._active.get(cluster, {})
        uids = active if ids is None else {uid_of(one) for one in ids}
        for uid in uids:
            if uid in active:
                self._wake(active[uid])

    def _on(self, cluster: Key) -> list[Key]:
        """Jobs to look after when something about a cluster has changed."""
        return list(self._active.get(cluster, {}).values())

    def _on_child(self, obj: dict[str, Any]) -> list[Key]:
        """The same for what belongs to a cluster."""
        metadata = obj["metadata"]
        name = (metadata.get("labels") or {}).get(CLUSTER_LABEL)
        return [] if name is None else self._on(Key(metadata.get("namespace", ""), name))
