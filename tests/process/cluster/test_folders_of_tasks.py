"""`working_dir` and `py_modules`: tasks and actors have a driver's folders on whatever node they run, wherever the driver is."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import manta
from manta.client.archives import read
from manta.exceptions import ActorDiedError
from manta.jobs.supervisor import for_tasks
from manta.testing import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from manta.client.handles import ActorHandle
    from tests.support.leaks import Sandbox

CLUSTER = None
pytestmark = pytest.mark.shared_cluster

#: Everything is imported and opened inside of tasks: nothing of it is on this program's own path.
PROGRAM = """
import json, os, sys
import manta

here = sys.argv[1]
manta.init(
    address=os.environ.get("CLUSTER"), log_to_driver=False,
    runtime_env={"working_dir": here + "/code", "excludes": ["*.csv", "big"], "env_vars": {"A": "1"}},
)


@manta.remote(num_cpus=0, resources={"there": 1})
def look():
    import helper

    context = manta.get_runtime_context()
    files = sorted(set(os.listdir(".")) - {"__pycache__"})  # Python's own, of the import, unless it was told to keep none
    return helper.X, open("data.txt").read(), files, os.environ["A"], context.get_node_id(), os.getcwd()


@manta.remote(num_cpus=0, resources={"there": 1})
class Actor:
    def look(self):
        return manta.get(child.remote())


@manta.remote(num_cpus=0, resources={"here": 1}, runtime_env={"py_modules": [here + "/mod"], "env_vars": {"B": "2"}})
def child():
    import helper, mod, subprocess

    said = subprocess.run([sys.executable, "-c", "import mod, helper; print(mod.Y)"], capture_output=True, text=True)
    return helper.X, mod.Y, os.environ["A"] + os.environ["B"], said.stdout.strip(), open("data.txt").read()


@manta.remote(num_cpus=0, resources={"there": 1}, max_retries=0)
def shown():
    return manta.get_runtime_context().runtime_env


first, second = manta.get([look.remote(), look.remote()], timeout=30)
assert first == second
print(json.dumps([first, manta.get(Actor.remote().look.remote(), timeout=30), manta.get(shown.remote(), timeout=30)]))
"""


@pytest.fixture(scope="module")
def two(module_sandbox: Sandbox) -> Iterator[Cluster]:
    """Two nodes and a gateway."""
    with Cluster(head_node_args={"num_cpus": 1, "resources": {"here": 8}}, gateway=True) as cluster:
        cluster.add_node(num_cpus=1, resources={"there": 8})
        yield cluster


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, text in (
        ("code/helper.py", "X = 'helped'"),
        ("code/data.txt", "plain"),
        ("code/large.csv", "1,2"),
        ("code/big/one", "1"),
        ("code/.git/config", "none of the tasks' business"),
        ("mod/__init__.py", "Y = 'module'"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(
    cluster: Cluster, program: str, folder: Path, *, outside: bool, **more: str
) -> subprocess.CompletedProcess[str]:
    """A driver somewhere else than its folders."""
    script = folder / "driver" / "program.py"
    script.parent.mkdir()
    script.write_text(textwrap.dedent(program))
    assert cluster.head_node is not None
    where = cluster.gateway_environment if outside else {"CLUSTER": f"unix:{cluster.head_node.socket}"}
    return subprocess.run(
        [sys.executable, str(script), str(folder)],
        cwd=script.parent, env={**os.environ, **where, **more}, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("outside", [False, True], ids=["on the head", "outside"])
def test_tasks_and_actors_have_them_on_every_node(two: Cluster, folders: Path, outside: bool):
    """Variables merge, a child's modules come on top of its parent's folder, and what it starts has them too."""
    done = run(two, PROGRAM, folders, outside=outside)
    assert done.returncode == 0, done.stderr
    (x, data, files, a, node, cwd), inherited, shown = json.loads(done.stdout)
    (there,) = two.worker_nodes
    assert (x, data, files, a, node) == ("helped", "plain", ["data.txt", "helper.py"], "1", there.node_id)
    assert cwd.startswith(f"{there.session_dir}/runtime_resources/")
    assert inherited == ["helped", "module", "12", "module", "plain"]
    name = os.path.basename(cwd)
    assert shown == {"env_vars": {"A": "1"}, "working_dir": f"gcs://_manta_pkg_{name}.zip"}


def test_a_submitted_jobs_uploads_reach_its_tasks_on_other_nodes(two: Cluster, folders: Path):
    """Its supervisor names the files of the uploads; they are on the head alone."""
    for name, named in (("code", False), ("mod", True)):
        (folders / f"_manta_pkg_{name}.zip").write_bytes(read(str(folders / name), named=named))
    job = {"working_dir": "gcs://_manta_pkg_code.zip", "py_modules": ["gcs://_manta_pkg_mod.zip"]}
    program = """
    import os, manta
    manta.init(os.environ["CLUSTER"], log_to_driver=False)

    @manta.remote(num_cpus=0, resources={"there": 1})
    def look():
        import helper, mod
        return helper.X, mod.Y, open("data.txt").read(), "runtime_resources" in os.getcwd()

    print(*manta.get(look.remote(), timeout=30))
    """
    variables = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": for_tasks(job, folders), "metadata": {}})}
    done = run(two, program, folders, outside=False, **variables)
    assert (done.returncode, done.stdout) == (0, "helped module plain True\n"), done.stderr


def test_a_folder_that_is_not_there_is_said_where_it_is_named(two: Cluster, folders: Path):
    program = """
    import os, manta
    where = os.environ["CLUSTER"]
    for wanted in ({"working_dir": "/no/such"}, {"py_modules": ["/no/such"]}):
        try:
            manta.init(where, runtime_env=wanted)
        except ValueError as wrong:
            assert "'/no/such', which is neither a folder here nor a .zip file" in str(wrong), wrong
        assert not manta.is_initialized()
    manta.init(where, log_to_driver=False)
    try:
        manta.remote(lambda: 1).options(runtime_env={"working_dir": "/no/such"}).remote()
    except ValueError as wrong:
        assert "/no/such" in str(wrong)
    print(manta.get(manta.remote(lambda: 1).remote(), timeout=20))
    """
    done = run(two, program, folders, outside=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_an_archive_that_is_not_fit_fails_its_tasks_and_actors_and_says_why(two: Cluster, folders: Path):
    """One that would leave its folder; the others of the job are well."""
    program = """
    import os, sys, zipfile, manta
    from manta.exceptions import RuntimeEnvSetupError, ActorDiedError
    with zipfile.ZipFile(sys.argv[1] + "/evil.zip", "w") as made:
        made.writestr("../evil.py", "X = 1")
    manta.init(os.environ["CLUSTER"], log_to_driver=False)

    @manta.remote
    class Actor:
        def one(self):
            return 1

    function = manta.remote(lambda: 1)
    evil = {"working_dir": sys.argv[1] + "/evil.zip"}
    refs = [function.options(runtime_env=evil).remote() for _ in range(3)]
    for ref in [*refs, Actor.options(runtime_env=evil).remote().one.remote()]:
        try:
            manta.get(ref, timeout=30)
        except (RuntimeEnvSetupError, ActorDiedError) as wrong:
            assert "'../evil.py' would leave the folder" in str(wrong), wrong
        else:
            raise AssertionError
    print(manta.get(function.remote(), timeout=20))
    """
    done = run(two, program, folders, outside=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    for node in two.list_all_nodes():
        assert not list((folders / "..").resolve().glob("evil.py"))
        assert not os.path.exists(os.path.join(node.session_dir, "evil.py"))


#: A detached actor whose driver is gone when it is asked.
DETACHED = """
import os, sys, manta
from manta.api import uploads

uploads.KEPT_BYTES = int(os.environ["KEPT"])
manta.init(os.environ.get("CLUSTER"), log_to_driver=False, namespace="n", runtime_env={"working_dir": sys.argv[1] + "/code"})


@manta.remote(num_cpus=0, resources={"here": 1})
def child():
    import helper

    return helper.X


@manta.remote(
    num_cpus=0, resources={"spot": 1}, max_restarts=-1, max_task_retries=-1, runtime_env={"py_modules": [sys.argv[1] + "/mod"]}
)
class Actor:
    def look(self):
        import helper, mod

        return helper.X, mod.Y, open("data.txt").read(), manta.get_runtime_context().get_node_id(), manta.get(child.remote())


for name in ("one", "two"):
    actor = Actor.options(name=name, lifetime="detached").remote()
    assert manta.get(actor.look.remote(), timeout=30)[:3] == ("helped", "module", "plain")
"""


@contextlib.contextmanager
def moved(folders: Path, *, outside: bool, kept_bytes: int) -> Iterator[tuple[Cluster, list[ActorHandle[Any]], str]]:
    """A cluster in which detached actors have lost their driver and their node, and another one is there for them."""
    with Cluster(head_node_args={"num_cpus": 1, "resources": {"here": 8}}, gateway=True) as cluster:
        gone = cluster.add_node(num_cpus=1, resources={"spot": 8})
        done = run(cluster, DETACHED, folders, outside=outside, KEPT=str(kept_bytes))
        assert done.returncode == 0, done.stderr
        there = cluster.add_node(num_cpus=1, resources={"spot": 8})
        assert cluster.head_node is not None
        with manta.init(f"unix:{cluster.head_node.socket}", namespace="n", log_to_driver=False):
            cluster.remove_node(gone, allow_graceful=False)
            yield cluster, [manta.get_actor(name) for name in ("one", "two")], there.node_id


@pytest.mark.parametrize("outside", [False, True], ids=["on the head", "outside"])
def test_a_detached_actor_that_moves_has_its_folders_when_its_driver_is_gone(folders: Path, outside: bool):
    """Those of its job and its own; so have the tasks that it starts. Control keeps them as long as there is such an actor."""
    with moved(folders, outside=outside, kept_bytes=1 << 20) as (_, actors, node):
        for actor in actors:
            found = manta.get(actor.look.remote(), timeout=30)
            assert found == ("helped", "module", "plain", node, "helped")


def test_folders_that_are_too_large_to_be_kept_are_lost_by_name(folders: Path):
    with moved(folders, outside=False, kept_bytes=10) as (_, actors, _node):
        with pytest.raises(ActorDiedError, match="is there as long as who named it") as lost:
            manta.get(actors[0].look.remote(), timeout=30)
        assert "if all its folders have no more than 64 MiB together" in str(lost.value)
