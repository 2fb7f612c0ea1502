"""Starts supervisors, watches them, and ends jobs whose supervisor is gone."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import time
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from manta.aio.supervisor import Supervisor
from manta.core.errors import MantaError, OverloadedError
from manta.jobs import logs, packages, states
from manta.jobs.errors import JobExistsError, JobNotOverError
from manta.jobs.feed import Feed
from manta.jobs.hosts import Host
from manta.jobs.records import Records

log = logging.getLogger(__name__)

#: How often it is looked whether a supervisor lives.
LOOK_S: Final = 0.5
#: And whether an entrypoint has begun, which its supervisor writes down.
BEGINNING_S: Final = 0.1
#: Jobs that may be under way at a time: each is a supervisor and what its entrypoint starts, on one machine.
MOST_RUNNING: Final = 256
#: Jobs that are over and still known, with their logs. Older ones go when so many others have ended since it was last looked.
MOST_KEPT: Final = 1000
LOOK_AGAIN: Final = 20


class Manager:
    """All jobs of a cluster, in the dashboard's process. What it must not forget is in control.

    Args:
        records: Facts in control.
        host: Where supervisors run.
        session_dir: Of the cluster.
        uploads: Folder of uploads.
        tasks: Parent of what watches.
    """

    def __init__(self, records: Records, host: Host, session_dir: Path, uploads: Path, tasks: Supervisor) -> None:
        #: What is known of jobs, for those who follow them.
        self.feed = Feed()
        self._records, self._session_dir = records, session_dir
        self.uploads, self._tasks = uploads, tasks
        self._host = host
        #: Jobs that are not over.
        self._watched: set[str] = set()
        self._ended = 0

    async def submit(self, body: object) -> str:
        """Start a job, or find that this very one was started before; its id.

        Raises:
            JobRequestError: A field is malformed.
            JobExistsError: The id is another job's.
            OverloadedError: Too many jobs are under way.
        """
        if len(self._watched) >= MOST_RUNNING:
            raise OverloadedError(f"{MOST_RUNNING} jobs are under way already: wait for some to end, or stop some")
        job = states.check_request(body, f"mantasubmit_{secrets.token_hex(8)}")
        job_id: str = job["submission_id"]
        job["submitted_unix_ms"] = int(time.time() * 1000)
        if not await self._records.write("job", job_id, job):
            facts = await self._records.read(job_id)
            if not states.same(facts.job, job):
                raise JobExistsError(job_id)
            self.feed.put(facts)
            return job_id
        self.feed.put(states.Facts(job))
        try:
            self._start(job_id)
        except OSError as wrong:
            end = {"status": states.FAILED, "message": f"its supervisor could not be started: {wrong}"}
            _ = await self._records.write("end", job_id, {**end, "unix_ms": int(time.time() * 1000)})
            self.feed.put(await self._records.read(job_id))
        return job_id

    async def stop(self, job_id: str) -> bool:
        """Ask a job to stop; False if it is over."""
        facts = await self._records.read(states.check_id(job_id))
        if facts.end is not None:
            return False
        stop = {"unix_ms": int(time.time() * 1000)}
        _ = await self._records.write("stop", job_id, stop)
        self.feed.put(replace(facts, stop=stop))
        self._host.stop(job_id)
        return True

    async def delete(self, job_id: str) -> bool:
        """Forget a job that is over; its log stays."""
        facts = await self._records.read(states.check_id(job_id))
        if facts.end is None:
            raise JobNotOverError(job_id, facts.status)
        await self._records.delete(job_id)
        self.feed.remove(job_id)
        await asyncio.to_thread(shutil.rmtree, self._home_of(job_id), ignore_errors=True)
        return True

    async def get(self, job_id: str) -> states.Facts:
        """Everything about a job."""
        return await self._records.read(states.check_id(job_id))

    async def is_over(self, job_id: str) -> bool:
        """Whether it has ended, or was forgotten. One question to control."""
        return await self._records.is_over(job_id)

    async def all(self) -> list[states.Facts]:
        """Everything about all jobs."""
        return await self._records.all()

    def log_of(self, job_id: str) -> Path:
        """The file of a job's output."""
        return self._session_dir / "logs" / states.log_name(job_id)

    def _home_of(self, job_id: str) -> Path:
        return self._session_dir / "jobs" / states.check_id(job_id)

    def _start(self, job_id: str) -> None:
        self._host.start(job_id)
        self._begin_watch(job_id)

    def _begin_watch(self, job_id: str) -> None:
        if job_id not in self._watched:
            self._watched.add(job_id)
            _ = self._tasks.start(self._watch(job_id), name=f"job {job_id}")

    async def recover(self) -> None:
        """Watch the jobs that a dashboard before this one started. Runs until control has told which."""
        await asyncio.to_thread(packages.sweep, self.uploads)
        while True:
            try:
                for facts in await self.all():
                    job_id = facts.job["submission_id"]
                    self.feed.put(facts)
                    if facts.end is None:
                        self._begin_watch(job_id)
                self.feed.all_read(await self._records.memory())
                await self._forget_outdated()
                return
            except MantaError as away:
                log.warning("jobs are not known yet: %s", away)
                await asyncio.sleep(LOOK_S)

    async def _watch(self, job_id: str) -> None:
        begun = False
        while self._host.runs(job_id):  # a process of before has no event
            if not begun:
                with suppress(MantaError):
                    # Control is away: the next look will do.
                    facts = await self._records.read(job_id)
                    self.feed.put(facts)
                    begun = facts.began is not None
            await asyncio.sleep(LOOK_S if begun else BEGINNING_S)
        while True:
            try:
                facts = await self._records.read(job_id)
                if facts.end is None:
                    if facts.run is not None:
                        self._host.kill(facts.run)
                    gone = _gone(self._host.wrong(job_id), stop_wanted=facts.stop is not None)
                    log_tail = await asyncio.to_thread(logs.tail, self.log_of(job_id), states.MOST_TAIL)
                    _ = await self._records.write("end", job_id, {**gone, "log_tail": log_tail})
                    facts = await self._records.read(job_id)
                self.feed.put(facts)
                break
            except MantaError as wrong:
                if wrong.code == "JOB_NOT_FOUND":
                    self.feed.remove(job_id)
                    break
                log.warning("the end of job %s cannot be written yet: %s", job_id, wrong)
                await asyncio.sleep(LOOK_S)
        self._host.forget(job_id)
        self._watched.discard(job_id)
        self._ended += 1
        if not self._ended % LOOK_AGAIN:
            with suppress(MantaError):
                # Control is away: the next will do.
                await self._forget_outdated()

    async def _forget_outdated(self) -> None:
        """Keep `MOST_KEPT` jobs that are over, and as many logs of jobs that are not known any more."""
        known = {facts.job["submission_id"]: facts for facts in await self.all()}
        for job_id in states.outdated(known.values(), MOST_KEPT, now_ms=int(time.time() * 1000)):
            await self._records.delete(job_id)
            self.feed.remove(job_id)
            del known[job_id]
            await asyncio.to_thread(shutil.rmtree, self._home_of(job_id), ignore_errors=True)
            self.log_of(job_id).unlink(missing_ok=True)
        await asyncio.to_thread(_remove_old_logs, self._session_dir / "logs", {self.log_of(one).name for one in known})


def _remove_old_logs(folder: Path, known: AbstractSet[str]) -> None:
    others = [path for path in folder.glob("job-driver-*.log") if path.name not in known]
    with suppress(OSError):
        for path in sorted(others, key=lambda one: one.stat().st_mtime_ns)[: max(0, len(others) - MOST_KEPT)]:
            path.unlink(missing_ok=True)


def _gone(never_began: str, *, stop_wanted: bool) -> dict[str, Any]:
    if stop_wanted:
        # It was told so before it could listen.
        return {**states.ended(None, stop_wanted=True), "unix_ms": int(time.time() * 1000)}
    if never_began:
        message = f"its supervisor could not be started: {never_began}"
        return {"status": states.FAILED, "message": message, "unix_ms": int(time.time() * 1000)}
    return {
        "status": states.FAILED,
        "message": "the job's supervisor died; what it had started was killed",
        "error_type": "JOB_SUPERVISOR_ACTOR_DIED",
        "unix_ms": int(time.time() * 1000),
    }
