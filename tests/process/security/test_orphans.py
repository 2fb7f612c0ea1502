"""A supervisor that is killed between starting a command and writing it down leaves no command behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import wait_until

#: A supervisor whose control never answers the one question that matters.
SCRIPT = """
import argparse, asyncio, json, pathlib, sys
from manta.jobs import supervisor
from manta.jobs.states import Facts

folder = pathlib.Path(sys.argv[1])

class Records:
    def __init__(self, ask): ...
    async def read(self, job_id):
        job = {"submission_id": job_id, "entrypoint": f"touch {folder}/ran", "metadata": {}, "runtime_env": {}}
        return Facts(job)
    async def write(self, kind, job_id, fact):
        print(json.dumps({kind: fact}), flush=True)
        if kind == "run" and "silent" in sys.argv:
            await asyncio.Event().wait()
        return True

supervisor.Records = Records
flags = argparse.Namespace(
    control="unix:none", credentials=None, id="job", session_dir=folder, uploads=folder, log=folder / "log"
)
asyncio.run(supervisor.supervise(flags))
"""


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "address.json").write_text('{"raylet": "/nowhere"}')
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), *words], stdout=subprocess.PIPE, text=True)


def test_what_is_not_written_down_does_not_begin(tmp_path):
    process = started(tmp_path, "silent")
    assert process.stdout is not None
    with process.stdout as said:
        run = json.loads(said.readline())["run"]
        assert Path(f"/proc/{run['group']}").exists(), "it waits for its word"
        process.kill()
        process.wait()
    wait_until(lambda: not Path(f"/proc/{run['group']}").exists(), what="the end of the shell")
    assert not (tmp_path / "ran").exists()


def test_what_is_written_down_begins(tmp_path):
    process = started(tmp_path)
    said, _ = process.communicate(timeout=20)
    assert [next(iter(json.loads(line))) for line in said.splitlines()] == ["run", "end"]
    assert (tmp_path / "ran").exists()
