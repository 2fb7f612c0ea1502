"""What a try of a MantaJob is called on the head, and what is submitted for it. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from manta_operator.api import quantity
from manta_operator.api.job import EntrypointResources, MantaJob

#: Of every submission of this operator: heads are asked about those alone.
PREFIX: Final = "mj-"


def submission_id(uid: str, attempt: int) -> str:
    """The id of a try: of this object alone, whatever another of its name does later.

    Args:
        uid: The MantaJob's.
        attempt: From 1.
    """
    return f"{PREFIX}{uid}-{attempt}"


def uid_of(submission_id: str) -> str:
    """The UID of the MantaJob whose try it is; empty if it is nobody's."""
    return submission_id.removeprefix(PREFIX).rpartition("-")[0] if submission_id.startswith(PREFIX) else ""


def body(job: MantaJob, attempt: int) -> dict[str, Any]:
    """What the head is told."""
    return {
        "submission_id": submission_id(job.metadata.uid, attempt),
        "entrypoint": job.spec.entrypoint,
        "runtime_env": dict(job.spec.runtime_env or {}),
        "metadata": {
            "manta.compute/job": job.metadata.name,
            "manta.compute/namespace": job.metadata.namespace,
            "manta.compute/attempt": str(attempt),
        },
        **_resources(job.spec.entrypoint_resources),
    }


def _resources(wanted: EntrypointResources) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, amount in (("num_cpus", wanted.cpu), ("num_gpus", wanted.gpu)):
        if amount is not None and (number := quantity.amount(amount)):
            said[f"entrypoint_{name}"] = _number(number)
    if wanted.memory is not None and (number := quantity.amount(wanted.memory)):
        said["entrypoint_memory"] = int(number)
    if wanted.custom:
        said["entrypoint_resources"] = dict(wanted.custom)
    return said


def _number(number: Decimal) -> int | float:
    return int(number) if number == int(number) else float(number)
