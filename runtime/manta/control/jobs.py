"""The table of jobs: one per driver, from its first word to its end."""

from __future__ import annotations

from dataclasses import replace

from manta.control.commands import Command, Publish, Table, Write
from manta.control.errors import JobNotFoundError
from manta.control.events import RegisterJob
from manta.control.model import Instant, Job, JobId, JobState, NodeId
from manta.control.stories import Stories

#: Key of the id counter in the store's META table.
NEXT_JOB = b"next_job"


class JobTable:
    """Jobs by id.

    Args:
        stories: Where to tell what happened.
        finished_kept: Finished jobs remembered.
    """

    def __init__(self, stories: Stories, finished_kept: int = 1000) -> None:
        self._stories = stories
        self._finished_kept = finished_kept
        self.rows: dict[JobId, Job] = {}
        #: Finished ones, the longest finished first.
        self._finished: dict[JobId, None] = {}
        self._next = 1

    def get(self, job_id: JobId) -> Job:
        """The job.

        Raises:
            JobNotFoundError: None such is remembered.
        """
        row = self.rows.get(job_id)
        if row is None:
            raise JobNotFoundError(f"job {job_id.hex()} is not known")
        return row

    def is_running(self, job_id: JobId) -> bool:
        """Whether it is known and not over."""
        row = self.rows.get(job_id)
        return row is not None and row.state is JobState.RUNNING

    def restore(self, row: Job) -> None:
        """Take a row from the store."""
        self.rows[row.job_id] = row
        if row.state is not JobState.RUNNING:
            self._finished[row.job_id] = None

    def restore_next(self, number: int) -> None:
        """Take the id counter from the store."""
        self._next = max(self._next, number)

    def register(self, event: RegisterJob, now: Instant, out: list[Command]) -> Job:
        """Begin a job under a new id."""
        job_id = JobId(self._next.to_bytes(4, "little"))
        self._next += 1
        row = Job(
            job_id=job_id,
            namespace=event.namespace or event.anonymous_namespace,
            driver=event.driver,
            driver_pid=event.driver_pid,
            entrypoint=event.entrypoint,
            config=event.config,
            request_id=event.request_id,
            started_unix_ms=now.unix_ms,
        )
        self.rows[job_id] = row
        # Without the counter an id would be given again once its finished job was forgotten.
        out.append(Write(Table.META, NEXT_JOB, self._next))
        out.append(Write(Table.JOBS, job_id, row))
        out.append(Publish(row, event.cause))
        self._stories.tell(now.s, event.cause, "job started", job_id, event.driver.node_id)
        return row

    def finish(
        self, job_id: JobId, state: JobState, message: str, now: Instant, out: list[Command], cause: str
    ) -> bool:
        """End a job; returns False if it was over already.

        Raises:
            JobNotFoundError: None such is remembered.
        """
        row = self.get(job_id)
        if row.state is not JobState.RUNNING:
            return False
        row = replace(row, state=state, message=message, ended_unix_ms=now.unix_ms)
        self.rows[job_id] = row
        self._finished[job_id] = None
        out.append(Write(Table.JOBS, job_id, row))
        out.append(Publish(row, cause))
        self._stories.tell(now.s, cause, f"job {state.name.lower()}: {message}", job_id)
        while len(self._finished) > self._finished_kept:
            oldest = next(iter(self._finished))
            del self._finished[oldest], self.rows[oldest]
            out.append(Write(Table.JOBS, oldest, None))
        return True

    def driven_from(self, node_id: NodeId) -> list[Job]:
        """Running jobs whose driver is on a node."""
        return [row for row in self.rows.values() if row.state is JobState.RUNNING and row.driver.node_id == node_id]

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        for job_id, row in self.rows.items():
            assert row.job_id == job_id
            assert int.from_bytes(job_id, "little") < self._next
            assert (row.state is JobState.RUNNING) == (job_id not in self._finished)
        assert set(self._finished) <= set(self.rows)
        assert len(self._finished) <= self._finished_kept

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {
            "jobs_running": len(self.rows) - len(self._finished),
            "jobs_finished_kept": len(self._finished),
            "jobs_started": self._next - 1,
        }
