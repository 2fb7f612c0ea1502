"""What the jobs' side refuses, each with a code that HTTP repeats."""

from __future__ import annotations

from manta.core.errors import MantaError


class JobRequestError(MantaError):
    """A field of a request is malformed; the text names it."""

    code = "INVALID_REQUEST"


class RuntimeEnvError(JobRequestError):
    """A job's runtime_env is malformed, or wants what is not there; the text names the field."""

    code = "INVALID_RUNTIME_ENV"


class JobUnknownError(MantaError):
    """There is no such submitted job."""

    code = "JOB_NOT_FOUND"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"Job {job_id[:100]!r} does not exist")


class JobExistsError(MantaError):
    """Another job has this submission id."""

    code = "JOB_EXISTS"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"Job with submission_id {job_id} already exists, and is another. Please use a different submission_id."
        )


class JobNotOverError(MantaError):
    """Only a job that is over can be deleted."""

    code = "JOB_FINISHED"

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(f"Job {job_id} is {status}; stop it before it is deleted")


class PackageError(MantaError):
    """An upload is not what it should be; the text names the entry."""

    code = "PACKAGE_REFUSED"


class PackageUnknownError(MantaError):
    """There is no such upload."""

    code = "PACKAGE_NOT_FOUND"


class PackagesUnwritableError(MantaError):
    """The head's disk does not take an upload."""

    code = "PACKAGES_UNWRITABLE"

    def __init__(self, folder: object, wrong: OSError) -> None:
        super().__init__(
            f"an upload cannot be written into {folder} on the head: {wrong.strerror or wrong}; nothing of it is kept"
        )


class PackagesFullError(MantaError):
    """All uploads together are as much as the head keeps."""

    code = "PACKAGES_FULL"

    def __init__(self, folder: object, most: int) -> None:
        super().__init__(
            f"the uploads in {folder} would be more than {most} bytes together; delete some that no job needs"
        )
