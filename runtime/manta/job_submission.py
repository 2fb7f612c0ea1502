"""The name under which users of Ray find the jobs' client: `from manta.job_submission import JobSubmissionClient`."""

from __future__ import annotations

from manta.jobs.client import JobDetails, JobStatus, JobSubmissionClient

__all__ = ["JobDetails", "JobStatus", "JobSubmissionClient"]
