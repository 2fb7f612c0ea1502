"""Every process of a cluster that dials by gRPC, or answers, has imported it with our settings."""

from __future__ import annotations

import json
import os
import sys

from tests.support import heads
from tests.support.waiting import wait_until

#: Each process that looks for either says what it has looked for so far, in a line.
HOOK = """
import json, sys
program = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
class Hook:
    seen = []
    def find_spec(self, name, path=None, target=None):
        if name in ("manta.transport.grpc_settings", "grpc"):
            self.seen.append(name)
            with open({found!r}, "a") as file:
                file.write(json.dumps([program, self.seen]) + chr(10))
sys.meta_path.insert(0, Hook())
"""
DIAL = {"manta.control", "manta.raylet", "manta.gateway", "manta.dashboard", "manta.jobs.supervisor"}


def test_settings_come_before_grpc_in_every_process(tmp_path):
    found = tmp_path / "found"
    (tmp_path / "sitecustomize.py").write_text(HOOK.format(found=str(found)))
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with heads.started(environment={"PYTHONPATH": path}) as head:
        body = {"entrypoint": f"{sys.executable} -c pass", "submission_id": "inside"}
        assert head.ask("POST", "/api/jobs/", body, token="submitter")[0] == 200
        seen: dict[str, list[str]] = {}

        def all_said() -> bool:
            for line in found.read_text().splitlines():
                program, names = json.loads(line)
                seen[program] = max(seen.get(program, []), names, key=len)
            return set(seen) >= DIAL

        wait_until(all_said, timeout_s=30, what="every process to have imported gRPC")
    assert {program: names[0] for program, names in seen.items()} == dict.fromkeys(
        seen, "manta.transport.grpc_settings"
    )
