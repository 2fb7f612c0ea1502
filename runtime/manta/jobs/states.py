"""What a submitted job is, decided from what is written of it. Pure.

Five facts are written about a job, each once and never changed: that it was submitted, that it began, that it was given the
resources that it asked for, that somebody wants it stopped, and how it ended. The first who writes a fact wins, so that a
supervisor and whoever watches it never contradict each other, and no state is ever left again that is final.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from manta.core.labels import wrong_selector
from manta.core.options.table import check_runtime_env
from manta.core.resources import custom_resources
from manta.jobs.errors import JobRequestError, RuntimeEnvError

Fact = Mapping[str, Any]

SUCCEEDED: Final = "SUCCEEDED"
FAILED: Final = "FAILED"
STOPPED: Final = "STOPPED"
FINAL: Final = frozenset({SUCCEEDED, FAILED, STOPPED})

#: An id is a file's name too, and part of a path.
_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
MOST_ENTRYPOINT: Final = 100_000
MOST_METADATA: Final = 1000
#: Of its output, kept with a job's end: it stays known when the head's disk is gone.
MOST_TAIL: Final = 4096
#: A job that ended less than this ago is remembered.
FRESH_MS: Final = 3_600_000
#: What of a runtime_env is acted on.
_FIELDS: Final = frozenset({"env_vars", "working_dir", "py_modules", "config", "excludes"})
_URI: Final = re.compile(r"(gcs)://([A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.zip)")
_TELLING: Final = {
    "PENDING": "Job has not started yet.",
    "RUNNING": "Job is currently running.",
    STOPPED: "Job was intentionally stopped.",
    SUCCEEDED: "Job finished successfully.",
    FAILED: "Job failed.",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is written of one job."""

    job: Fact
    run: Fact | None = None
    stop: Fact | None = None
    end: Fact | None = None
    placed: Fact | None = None

    @property
    def began(self) -> Fact | None:
        """Which fact says that its command runs; None if it does not yet."""
        return self.placed if self.job.get("resources") else self.run

    @property
    def status(self) -> str:
        """As Ray names it."""
        if self.end is not None:
            return str(self.end["status"])
        return "PENDING" if self.began is None else "RUNNING"

    @property
    def message(self) -> str:
        """Why it is where it is."""
        if self.end is None and self.run is not None and self.began is None:
            return f"Job waits for a node{_needs(self.job['resources'])}."
        return str((self.end or {}).get("message") or _TELLING[self.status])


def check_id(job_id: object) -> str:
    """A submission id.

    Raises:
        JobRequestError: It is none.
    """
    if not isinstance(job_id, str) or not _ID.fullmatch(job_id):
        raise JobRequestError(
            f"submission_id has 1 to 128 letters, digits, '_', '-' and '.', and begins with no '-' or '.'; not {job_id!r:.100}"
        )
    return job_id


def log_name(job_id: str) -> str:
    """The file of a job's output in the head's folder of logs; raises as `check_id`."""
    return f"job-driver-{check_id(job_id)}.log"


def check_request(body: object, new_id: str) -> dict[str, Any]:
    """The fact "submitted", from the body of a request.

    Args:
        body: Decoded JSON.
        new_id: For a job that comes without an id.

    Raises:
        JobRequestError: A field is malformed; says which.
    """
    if not isinstance(body, dict):
        raise JobRequestError("the body is a JSON object with 'entrypoint'")
    entrypoint = body.get("entrypoint")
    if not isinstance(entrypoint, str) or not entrypoint.strip():
        raise JobRequestError("entrypoint is missing: a shell command, like 'python train.py'")
    if len(entrypoint) > MOST_ENTRYPOINT or "\0" in entrypoint:
        raise JobRequestError(f"entrypoint has at most {MOST_ENTRYPOINT} characters, none of them NUL")
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict) or not all(isinstance(one, str) for pair in metadata.items() for one in pair):
        raise JobRequestError("metadata is an object of texts")
    if (
        sum(len(key) + len(value) for key, value in metadata.items()) > 100 * MOST_METADATA
        or len(metadata) > MOST_METADATA
    ):
        raise JobRequestError("metadata is larger than 100 kB, or has more than 1000 entries")
    environment, resources = _check_environment(body.get("runtime_env") or {}), _check_resources(body)
    return {
        "submission_id": check_id(body.get("submission_id") or body.get("job_id") or new_id),
        "entrypoint": entrypoint,
        "metadata": metadata,
        "runtime_env": environment,
        **({"resources": resources} if resources else {}),
    }


def _check_resources(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the entrypoint needs, as options of an actor; empty for nothing."""
    found: dict[str, Any] = {}
    for name in ("num_cpus", "num_gpus", "memory"):
        if body.get(f"entrypoint_{name}"):
            found[name] = _check_amount(f"entrypoint_{name}", body[f"entrypoint_{name}"])
    custom = body.get("entrypoint_resources") or {}
    if not isinstance(custom, dict) or not all(isinstance(name, str) and name for name in custom):
        raise JobRequestError("entrypoint_resources is an object of amounts, by the names of custom resources")
    amounts = {name: _check_amount(f"entrypoint_resources[{name!r:.100}]", value) for name, value in custom.items()}
    if any(amounts.values()):
        found["resources"] = amounts
    if selector := _check_selector(body.get("entrypoint_label_selector")):
        found["label_selector"] = selector
    if not found:
        return {}
    # An actor that says nothing of CPUs holds one while it is made; this one holds what was asked for.
    found = {"num_cpus": 0, **found}
    if found.get("memory"):
        found["memory"] = int(found["memory"])
    try:
        custom_resources(amounts, "entrypoint_resources")
    except (TypeError, ValueError) as wrong:
        raise JobRequestError(f"entrypoint_resources: {wrong}") from wrong
    return found


def _check_selector(selector: object) -> dict[str, str]:
    if not selector:
        return {}
    if not isinstance(selector, dict):
        raise JobRequestError("entrypoint_label_selector is an object of conditions, by the names of labels")
    try:
        wrong = wrong_selector(selector)
    except (TypeError, ValueError) as error:
        wrong = str(error)
    if wrong:
        raise JobRequestError(f"entrypoint_label_selector: {wrong}")
    return selector


def _check_amount(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise JobRequestError(f"{name} is an amount, like 2 or 0.5, not {value!r:.40}")
    return value


def _needs(resources: Mapping[str, Any]) -> str:
    """For people: ` with 4 CPUs, 2 GPUs free and the labels zone=a`."""
    named = {"num_cpus": "CPUs", "num_gpus": "GPUs", "memory": "bytes of memory"}
    said = [f"{resources[name]:g} {words}" for name, words in named.items() if resources.get(name)]
    said += [f"{amount:g} of {name}" for name, amount in (resources.get("resources") or {}).items() if amount]
    free = f"{', '.join(said)} free" if said else ""
    selector = resources.get("label_selector") or {}
    labels = f"the labels {', '.join(f'{key}={value}' for key, value in selector.items())}" if selector else ""
    return f" with {' and '.join(filter(None, (free, labels)))}" if free or labels else ""


def _check_environment(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RuntimeEnvError("runtime_env is an object")
    value = {name: content for name, content in value.items() if not name.startswith("_")}
    try:
        wrong = check_runtime_env({"env_vars": value.get("env_vars"), "config": value.get("config")})
    except (TypeError, ValueError) as error:
        wrong = str(error)
    unknown = sorted(name for name in value if name not in _FIELDS and value[name])
    if unknown:
        wrong = f"runtime_env fields {unknown!r:.200} cannot be used yet; those that can are {sorted(_FIELDS)}"
    if wrong:
        raise RuntimeEnvError(wrong)
    modules = value.get("py_modules") or []
    if not isinstance(modules, list):
        raise RuntimeEnvError("runtime_env['py_modules'] is a list of uploads")
    for uri in (*([value["working_dir"]] if value.get("working_dir") else []), *modules):
        package_of(uri)
    return value


def package_of(uri: object) -> str:
    """The upload that a URI of a runtime_env names.

    Raises:
        JobRequestError: It names none: other URIs are not fetched, whatever they are.
    """
    found = _URI.fullmatch(uri) if isinstance(uri, str) else None
    if found is None:
        raise RuntimeEnvError(f"an upload is named gcs://NAME.zip, not {uri!r:.200}; other URIs are not fetched")
    return found[2]


def same(one: Fact, other: Fact) -> bool:
    """Whether two submissions ask for the same job: a repetition is answered as the first was."""
    return all(one.get(name) == other.get(name) for name in ("entrypoint", "metadata", "runtime_env", "resources"))


def ended(code: int | None, *, stop_wanted: bool) -> dict[str, Any]:
    """The fact "ended" of a job whose driver's process has ended.

    Args:
        code: Its exit code, negative for a signal.
        stop_wanted: Whether it was asked to.
    """
    if stop_wanted:
        return {"status": STOPPED, "message": _TELLING[STOPPED], "exit_code": code}
    if code == 0:
        return {"status": SUCCEEDED, "message": _TELLING[SUCCEEDED], "exit_code": code}
    return {
        "status": FAILED,
        "message": f"Job entrypoint command failed with exit code {code}; its log says more.",
        "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR",
        "exit_code": code,
    }


def outdated(jobs: Iterable[Facts], kept: int, *, now_ms: int) -> list[str]:
    """Ids of the jobs that are over and are forgotten: those that ended first, so that `kept` of them stay.

    Whoever follows jobs from afar may be cut off for a while, and must find their ends all the same: what ended within the
    last hour stays too, unless it is ten times as many.

    Args:
        jobs: All of them.
        kept: How many that are over stay.
        now_ms: When; Unix time.
    """
    over = sorted((one for one in jobs if one.end is not None), key=_ended_ms)
    most = len(over) - kept
    fresh = sum(_ended_ms(one) > now_ms - FRESH_MS for one in over)
    return [
        one.job["submission_id"] for one in over[: max(0, min(most, max(len(over) - fresh, len(over) - 10 * kept)))]
    ]


def _ended_ms(facts: Facts) -> int:
    return int((facts.end or {}).get("unix_ms", 0))


def event(facts: Facts) -> dict[str, Any]:
    """A job as those are told who follow it: what changes, and nothing that they said themselves."""
    end = facts.end or {}
    return {
        "submission_id": facts.job["submission_id"],
        "status": facts.status,
        "stopping": facts.stop is not None,
        "message": facts.message,
        "error_type": end.get("error_type"),
        "submitted_unix_ms": facts.job.get("submitted_unix_ms"),
        "began_unix_ms": (facts.began or {}).get("unix_ms"),
        "ended_unix_ms": end.get("unix_ms"),
        "exit_code": end.get("exit_code"),
        "log_tail": end.get("log_tail", ""),
    }


def details(facts: Facts) -> dict[str, Any]:
    """A job as the routes show it: Ray's JobDetails."""
    job, run, end = facts.job, facts.run or {}, facts.end or {}
    return {
        "type": "SUBMISSION",
        "job_id": None,
        "submission_id": job["submission_id"],
        "driver_info": None,
        "status": facts.status,
        "entrypoint": job["entrypoint"],
        "message": facts.message,
        "error_type": end.get("error_type"),
        "start_time": job.get("submitted_unix_ms"),
        "end_time": end.get("unix_ms"),
        "metadata": job["metadata"],
        "runtime_env": _without_secrets(job["runtime_env"]),
        "driver_agent_http_address": None,
        "driver_node_id": run.get("node_id"),
        "driver_exit_code": end.get("exit_code"),
    }


def _without_secrets(environment: Fact) -> dict[str, Any]:
    """Variables' names without their values: whoever may look need not see passwords."""
    shown = dict(environment)
    if shown.get("env_vars"):
        shown["env_vars"] = dict.fromkeys(shown["env_vars"], "***")
    return shown
