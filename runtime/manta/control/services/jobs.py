"""RPCs about jobs."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

from uuid import uuid4

from manta.control import convert, events
from manta.control.errors import InvalidRequestError
from manta.control.model import JobState
from manta.control.runner import Runner
from manta.control.services.requests import request_id
from manta.rpc.v1 import control_pb2 as pb


class JobRpcs:
    """RegisterJob to ListJobs."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self._state = runner, runner.state

    def RegisterJob(self, request: pb.RegisterJobRequest, cause: str) -> pb.RegisterJobResponse:
        event = events.RegisterJob(
            cause=cause,
            request_id=request_id(request.request_id),
            driver=convert.address(request.driver, "driver"),
            driver_pid=request.driver_pid,
            entrypoint=request.entrypoint[: convert.NAME_LIMIT],
            config=request.config,
            namespace=convert.name(request.namespace, "namespace"),
            anonymous_namespace=str(uuid4()),
        )
        job = self._state.jobs.get(self._runner.decide(event))
        return pb.RegisterJobResponse(
            job=convert.to_job(job), cluster_id=self._state.cluster_id, epoch=self._state.epoch
        )

    def FinishJob(self, request: pb.FinishJobRequest, cause: str) -> pb.FinishJobResponse:
        job_id = convert.job_id(request.job_id)
        if request.state not in (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED):
            raise InvalidRequestError("state must be SUCCEEDED or FAILED")
        self._runner.decide(
            events.FinishJob(
                cause=cause,
                request_id=request_id(request.request_id),
                job_id=job_id,
                state=JobState(request.state),
                message=convert.name(request.message, "message"),
            )
        )
        job = self._state.jobs.get(job_id)
        return pb.FinishJobResponse(job=convert.to_job(job))

    def ListJobs(self, request: pb.ListJobsRequest, cause: str) -> pb.ListJobsResponse:
        rows = self._state.jobs.rows.values()
        wanted = [row for row in rows if row.state is JobState.RUNNING or not request.running_only]
        return pb.ListJobsResponse(jobs=map(convert.to_job, wanted))
