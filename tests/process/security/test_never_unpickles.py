"""Control, raylet, gateway, HTTP server and supervisors of jobs never unpickle, whatever a cluster does meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support import heads
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

#: Programs that must not, as they stand in command lines.
WATCHED = (
    "manta.control",
    "manta.raylet",
    "manta.gateway",
    "manta.gateway.owner",
    "manta.dashboard",
    "manta.jobs.supervisor",
)

#: In each of their processes: says who imports what pickles for us, and who unpickles at all. (protobuf imports `pickle` for
#: its own messages' sake, and never uses it.)
HOOK = """
import sys
program = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
if program in {watched!r}:
    def note(what):
        import traceback
        with open({found!r}, "a") as file:
            file.write(what + " in " + " ".join(sys.orig_argv) + chr(10) + "".join(traceback.format_stack()))
    class Hook:
        def find_spec(self, name, path=None, target=None):
            if name in ("cloudpickle", "shelve", "dill") or name.startswith("manta.serde"):
                note("import of " + name)
    sys.meta_path.insert(0, Hook())
    import _pickle, marshal, pickle
    def noted(name):
        return lambda *arguments, **keywords: note("use of " + name)
    for name in ("load", "loads", "Unpickler"):
        for module in (_pickle, pickle):
            setattr(module, name, noted(name))
    with open({hooked!r}, "a") as file:
        file.write(program + chr(10))
"""

#: A little of everything: values, failures, actors, named and detached ones, streams, groups, what other processes own.
PROGRAM = """
import manta
from manta.util import placement_group as groups
from manta.util import state

manta.init()

@manta.remote
class Keeper:
    def __init__(self): self.kept = None
    def keep(self, refs): self.kept = refs
    def give(self): return manta.get(self.kept[0])
    def fail(self): raise KeyError(self)

@manta.remote
def items():
    yield from range(3)

@manta.remote(max_retries=0)
def fails():
    raise ValueError("no")

keeper = Keeper.options(name="keeper", lifetime="detached", num_cpus=0).remote()
big = manta.put(bytes(3_000_000))
manta.get(keeper.keep.remote([big]))
assert manta.get(manta.get_actor("keeper").give.remote()) == bytes(3_000_000)
assert [manta.get(ref) for ref in items.remote()] == [0, 1, 2]
for ref in (fails.remote(), keeper.fail.remote()):
    try:
        manta.get(ref)
    except Exception:
        pass
    else:
        raise SystemExit("it did not fail")
group = groups.placement_group([{"CPU": 1}])
assert manta.get(group.ready(), timeout=20) is not None
groups.remove_placement_group(group)
assert state.list_actors() and state.list_tasks() and state.list_nodes() is not None
manta.kill(keeper)
print("done")
"""


def test_no_server_unpickles(tmp_path, module_sandbox):
    (tmp_path / "sitecustomize.py").write_text(
        HOOK.format(watched=WATCHED, found=str(tmp_path / "found"), hooked=str(tmp_path / "hooked"))
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with heads.started(environment={"PYTHONPATH": path}) as head:
        given = {
            "MANTA_ADDRESS": head.gateway,
            "MANTA_CA_FILE": str(head.credentials / "ca.crt"),
            "MANTA_TOKEN_FILE": str(head.credentials / "driver.token"),
        }
        command = [sys.executable, str(program)]
        done = subprocess.run(
            command, env={**os.environ, **given}, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.stdout.endswith("done\n"), done.stderr
        body = {"entrypoint": f"{sys.executable} {program}", "submission_id": "inside"}
        assert head.ask("POST", "/api/jobs/", body, token="submitter")[0] == 200

        def over() -> bool:
            told = json.loads(head.ask("GET", "/api/jobs/inside", token="viewer")[1])
            assert told["status"] != "FAILED", head.ask("GET", "/api/jobs/inside/logs", token="viewer")
            return bool(told["status"] == "SUCCEEDED")

        wait_until(over, timeout_s=40)
    assert set((tmp_path / "hooked").read_text().split()) == set(WATCHED)
    assert not (tmp_path / "found").exists(), (tmp_path / "found").read_text()[:5000]
