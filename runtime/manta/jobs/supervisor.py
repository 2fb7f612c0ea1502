"""`python -m manta.jobs.supervisor`: starts one job's entrypoint, waits for it, and writes down how it ended.

It outlives the dashboard that started it and any control: what it has to say it says until control has it.
"""

from __future__ import annotations

from manta.transport import grpc_settings as _first  # isort: skip  # noqa: F401

import argparse
import asyncio
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from manta.core.errors import MantaError
from manta.jobs import groups, logs, packages, states
from manta.jobs.records import Records
from manta.transport import grpc as wire
from manta.transport.to_control import WayToControl

#: Between SIGTERM and SIGKILL of a job that is to stop, as Ray has it.
STOP_S: Final = 3.0
#: How long control may be away at the end of a job.
PATIENCE_S: Final = 600.0
_PAUSE_S: Final = 0.5
#: The entrypoint begins when it is written down which processes it will be. A supervisor that dies before that leaves none
#: behind: its end of the pipe is closed, and the shell that waits at the other ends.
_WAITING: Final = 'read -r begin || exit 125; exec /bin/sh -c "$1" </dev/null'


class Caller:
    """Calls to control, repeated until it answers."""

    def __init__(self, target: str, credentials: Path | None) -> None:
        self._way = WayToControl(target, os.fspath(credentials) if credentials is not None else None, "worker")

    async def ask(self, method: str, request: Any) -> Any:
        """One call, by its name."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            try:
                return await wire.call(await self._way.method(method), request, token=self._way.token, timeout_s=5.0)
            except MantaError as error:
                if (
                    error.code not in ("RPC_ERROR", "RPC_TIMEOUT", "CONTROL_STOPPING", "OVERLOADED")
                    or loop.time() > deadline
                ):
                    raise
            await asyncio.sleep(_PAUSE_S)


def environment(job: states.Fact, session_dir: Path, uploads: Path, folders: list[Path]) -> dict[str, str]:
    """The environment of an entrypoint. Its driver gives the uploads to its tasks, on whatever node they run."""
    variables = dict((job["runtime_env"].get("env_vars")) or {})
    made = dict(os.environ)
    # `python` is the cluster's, as its workers' is, unless the job says otherwise.
    made["PATH"] = os.path.dirname(sys.executable) + os.pathsep + made.get("PATH", os.defpath)
    made |= variables
    with open(session_dir / "address.json") as file:
        raylet = f"unix:{json.load(file)['raylet']}"
    made["RAY_ADDRESS"] = made["MANTA_ADDRESS"] = raylet
    metadata = {"job_submission_id": job["submission_id"], **job["metadata"]}
    made["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps(
        {"runtime_env": {"env_vars": variables, **for_tasks(job["runtime_env"], uploads)}, "metadata": metadata}
    )
    made["PYTHONUNBUFFERED"] = made.get("PYTHONUNBUFFERED", "1")
    paths = [*map(str, folders), made.get("PYTHONPATH", "")]
    made["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return made


def for_tasks(runtime_env: states.Fact, uploads: Path) -> dict[str, Any]:
    """A job's uploads and settings as its driver names them: by the files that hold the uploads."""
    found: dict[str, Any] = {}
    if runtime_env.get("working_dir"):
        found["working_dir"] = str(uploads / states.package_of(runtime_env["working_dir"]))
    if runtime_env.get("py_modules"):
        found["py_modules"] = [str(uploads / states.package_of(one)) for one in runtime_env["py_modules"]]
    if runtime_env.get("config"):
        found["config"] = runtime_env["config"]
    return found


def unpack(job: states.Fact, uploads: Path, home: Path) -> tuple[Path, list[Path]]:
    """The folder to run in, and those to import from.

    Raises:
        MantaError: An upload is missing or not fit.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = job["runtime_env"].get("working_dir")
    cwd = home
    if wanted:
        cwd = home / "working_dir"
        upload = packages.find(uploads, states.package_of(wanted))
        packages.unpack(upload, cwd)
        # By it a worker on this node knows that the folder it is to have is this one.
        with open(upload, "rb") as file:
            packages.mark(cwd).write_text(hashlib.file_digest(file, "sha256").hexdigest())
    folders = [cwd]
    for number, uri in enumerate(job["runtime_env"].get("py_modules") or []):
        folders.append(home / f"py_modules_{number}")
        packages.unpack(packages.find(uploads, states.package_of(uri)), folders[-1])
    return cwd, folders


async def supervise(flags: argparse.Namespace) -> None:
    """Everything from the first word to the last."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    records = Records(Caller(flags.control, flags.credentials).ask)
    facts = await records.read(flags.id)
    if facts.end is not None:
        return
    if facts.run is not None:
        # Somebody began it and is gone: what it did must not be done twice.
        message = "the job's supervisor died after it had begun"
        await _end(
            records, flags.id,
            {"status": states.FAILED, "message": message, "error_type": "JOB_SUPERVISOR_ACTOR_DIED"},
        )  # fmt: skip
        return
    if stop.is_set() or facts.stop is not None:
        await _end(records, flags.id, states.ended(None, stop_wanted=True))
        return
    placed, tell = os.pipe()
    try:
        home = flags.session_dir / "jobs" / flags.id
        cwd, folders = await asyncio.to_thread(unpack, facts.job, flags.uploads, home)
        variables = environment(facts.job, flags.session_dir, flags.uploads, folders)
        with open(flags.log, "ab") as output:  # noqa: ASYNC230 - once
            driver = subprocess.Popen(  # noqa: ASYNC220 - returns once it is started
                ["/bin/sh", "-c", _WAITING, "sh", command(facts.job, tell)],
                cwd=cwd, env=variables, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
                pass_fds=(tell,) if facts.job.get("resources") else (),
            )  # fmt: skip
    except (MantaError, OSError, ValueError) as wrong:
        kind = "RUNTIME_ENV_SETUP_FAILURE" if isinstance(wrong, MantaError) else "JOB_ENTRYPOINT_COMMAND_START_ERROR"
        await _end(
            records,
            flags.id,
            {"status": states.FAILED, "message": f"the job could not start: {wrong}", "error_type": kind},
        )
        os.close(placed)
        return
    finally:
        os.close(tell)
    assert driver.stdin is not None
    over = asyncio.Event()
    watched = os.pidfd_open(driver.pid)
    loop.add_reader(watched, over.set)
    try:
        _ = await records.write("run", flags.id, {**groups.identity(driver.pid), "unix_ms": int(time.time() * 1000)})
        with driver.stdin, suppress(BrokenPipeError):
            driver.stdin.write(b"\n")
            driver.stdin.flush()
        telling = asyncio.ensure_future(_tell_when_placed(records, flags.id, placed))
        waits = [asyncio.ensure_future(over.wait()), asyncio.ensure_future(stop.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        stopping = not over.is_set()
        if not stopping:
            # It has been said by now, if ever.
            await asyncio.wait([telling], timeout=_PAUSE_S)
        telling.cancel()
        if stopping:
            _kill(driver.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await over.wait()
    finally:
        # Also what the entrypoint left running: a job's end is the end of its whole group.
        _kill(driver.pid, signal.SIGKILL)
        code = driver.wait()
        loop.remove_reader(watched)
        loop.remove_reader(placed)
        os.close(watched)
        os.close(placed)
    log_tail = await asyncio.to_thread(logs.tail, flags.log, states.MOST_TAIL)
    await _end(records, flags.id, {**states.ended(code, stop_wanted=stopping), "log_tail": log_tail})


def command(job: states.Fact, placed: int) -> str:
    """The command of an entrypoint; of one that needs resources, what gets them for it.

    Args:
        job: What was submitted.
        placed: A descriptor that is written to when it has them.
    """
    if not job.get("resources"):
        return str(job["entrypoint"])
    wanted = {"command": job["entrypoint"], "options": job["resources"], "placed": placed}
    return shlex.join([sys.executable, "-m", "manta.util.entrypoint", json.dumps(wanted)])


async def _tell_when_placed(records: Records, job_id: str, placed: int) -> None:
    """Write down that a job has the resources that it asked for, as soon as whoever got them says so."""
    loop, said = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(placed, said.set)
    await said.wait()
    loop.remove_reader(placed)
    if os.read(placed, 1):
        _ = await records.write("placed", job_id, {"unix_ms": int(time.time() * 1000)})


async def _end(records: Records, job_id: str, fact: dict[str, Any]) -> None:
    _ = await records.write("end", job_id, {**fact, "unix_ms": int(time.time() * 1000)})


def _kill(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def main() -> int:
    """Parse, supervise."""
    parser = argparse.ArgumentParser(prog="python -m manta.jobs.supervisor", description="Supervise one job.")
    parser.add_argument("--control", required=True, help="gRPC target of control: unix:PATH or host:port")
    parser.add_argument("--credentials", type=Path, help="folder of credentials, where control is host:port")
    parser.add_argument("--session-dir", type=Path, required=True, help="folder of the cluster's session")
    parser.add_argument("--uploads", type=Path, required=True, help="folder of uploads")
    parser.add_argument("--log", type=Path, required=True, help="file for the entrypoint's output")
    parser.add_argument("--id", required=True, help="the job's submission id")
    asyncio.run(supervise(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
