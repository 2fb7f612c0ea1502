"""A copy of what one head knows of jobs, kept by its events. Pure: events in, ids of what changed out.

A stream begins with everything and says when that was all. What was known before and did not come again is gone then, and not
before: until a stream is whole, a job that is not known may exist all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manta_operator.heads.jobs import HeadJob, HeadState, read


class Mirror:
    """What one head knows.

    Attributes:
        jobs: By submission id. Of the last moment at which it was heard.
        synced: What is not in `jobs` does not exist: it is being listened to, and everything has come.
        memory: Name of the head's memory: with another one, everything before was forgotten.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, HeadJob] = {}
        self.synced = False
        self.memory = ""
        #: Counts streams. What was submitted while one was open is in the next for sure, in that one only sooner or later.
        self._stream = 0
        self._named: set[str] = set()
        self._submitted: dict[str, int] = {}

    def opened(self) -> None:
        """A stream begins."""
        self._stream += 1
        self.synced = False
        self._named = set()

    def broken(self) -> None:
        """The stream ended, however."""
        self.synced = False

    def submitted(self, submission_id: str) -> None:
        """A head has taken it: it exists, even before an event says so."""
        if submission_id not in self.jobs:
            self.jobs[submission_id] = HeadJob(submission_id=submission_id, state=HeadState.PENDING)
            self._submitted[submission_id] = self._stream

    def event(self, event: Mapping[str, Any]) -> set[str]:
        """One line of a stream. Returns ids of the jobs that are others now; an unknown kind of event is none of ours.

        Raises:
            ValueError: It is no event that a head sends.
        """
        match event.get("type"):
            case "job" if isinstance(event.get("job"), dict):
                return self._put(read(event["job"]))
            case "gone":
                gone = str(event.get("submission_id"))
                self._named.discard(gone)
                return self._remove({gone})
            case "whole":
                self.synced, self.memory = True, str(event.get("memory", ""))
                fresh = {one for one, stream in self._submitted.items() if stream >= self._stream}
                return self._remove(set(self.jobs) - self._named - fresh)
        return set()

    def _put(self, job: HeadJob) -> set[str]:
        self._named.add(job.submission_id)
        self._submitted.pop(job.submission_id, None)
        if self.jobs.get(job.submission_id) == job:
            return set()
        self.jobs[job.submission_id] = job
        return {job.submission_id}

    def _remove(self, gone: set[str]) -> set[str]:
        for submission_id in gone:
            self._submitted.pop(submission_id, None)
        return {submission_id for submission_id in gone if self.jobs.pop(submission_id, None) is not None}
