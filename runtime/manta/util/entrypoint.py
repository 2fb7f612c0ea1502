"""`python -m manta.util.entrypoint`: runs a submitted job's command where the resources are that it asked for.

The job's supervisor starts it on the head, as it starts any command. It is a driver whose one actor holds the resources, on
whatever node has them, and has the command as its child there: what the command prints comes back here, and so does its exit
code. A driver that ends takes its actors along, and an actor its children: so a job that is stopped leaves nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import manta

#: Of the command's output, in one piece.
_CHUNK: Final = 1 << 16
#: In it a submitted job's drivers find its environment.
CONFIG: Final = "RAY_JOB_CONFIG_JSON_ENV_VAR"


class Place:
    """The command's place: holds what it needs."""

    def run(self, command: str, variables: dict[str, str], node: str) -> Iterator[bytes | int | None]:
        """Run the command: nothing first, as it begins; then what it prints; its exit code last.

        Args:
            command: For a shell.
            variables: Of its environment.
            node: On which the job's supervisor is, in hex.
        """
        if manta.get_runtime_context().get_node_id() != node:
            # What leads to the cluster there leads nowhere here.
            variables = {**variables, "MANTA_ADDRESS": "auto", "RAY_ADDRESS": "auto"}
            if CONFIG in variables:
                variables[CONFIG] = as_here(variables[CONFIG], os.environ.get("PYTHONPATH", "").split(os.pathsep))
        child = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
        )
        assert child.stdout is not None
        yield None
        while said := os.read(child.stdout.fileno(), _CHUNK):
            yield said
        yield child.wait()


def as_here(config: str, folders: list[str]) -> str:
    """A job's environment whose folders are those that this worker has got: the uploads' own files are on the head.

    Args:
        config: As on the head.
        folders: What the worker imports from: first the job's working_dir if it has one, then one for each of its py_modules.
    """
    job = json.loads(config)
    environment, rest = job.get("runtime_env") or {}, list(folders)
    if environment.get("working_dir"):
        environment["working_dir"] = rest.pop(0)
    if environment.get("py_modules"):
        inside = [os.path.join(one, name) for one in rest[: len(environment["py_modules"])] for name in os.listdir(one)]
        environment["py_modules"] = sorted(one for one in inside if os.path.isdir(one) or one.endswith(".py"))
    return json.dumps(job)


def main(arguments: list[str]) -> int:
    """Run what the one argument says.

    Args:
        arguments: JSON: `command`; `options` of the actor; `placed`, a descriptor to write to when the command begins.
    """
    wanted: dict[str, Any] = json.loads(arguments[0])
    manta.init(log_to_driver=False)
    names = ("MANTA_ADDRESS", "RAY_ADDRESS", CONFIG, "PYTHONUNBUFFERED", "PATH")
    variables = {name: os.environ[name] for name in names if name in os.environ}
    place = manta.remote(Place).options(**wanted["options"]).remote()
    stream = place.run.options(num_returns="streaming").remote(
        wanted["command"], variables, manta.get_runtime_context().get_node_id()
    )
    for ref in stream:
        said = manta.get(ref)
        if said is None:
            os.write(wanted["placed"], b"\n")
            os.close(wanted["placed"])
        elif isinstance(said, bytes):
            sys.stdout.buffer.write(said)
            sys.stdout.buffer.flush()
        else:
            # A shell says it so of a child that a signal ended.
            return int(said) if said >= 0 else 128 - int(said)
    raise AssertionError("the command's exit code comes last")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
