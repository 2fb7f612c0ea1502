"""Several drivers on one cluster, and the ways a driver ends."""

from __future__ import annotations

import os
import signal

import pytest
import ray

from tests.process.semantics.support import is_running, manta_does_better, run_driver, start_driver, until

pytestmark = pytest.mark.shared_cluster

JOIN = 'import os, sys, time, ray\nray.init(address="auto", namespace="semantics", log_to_driver=False)\n'


def test_a_second_driver_joins_and_has_a_job_of_its_own(tmp_path):
    ended = run_driver(
        JOIN
        + """
print(ray.get(ray.remote(lambda: 7).remote()), ray.cluster_resources()["CPU"], ray.get_runtime_context().get_job_id())
""",
        tmp_path,
    )
    seven, cpus, job = ended.lines[-1].split()
    assert (seven, cpus) == ("7", "4.0"), ended.stderr
    assert job != ray.get_runtime_context().get_job_id()


def test_the_address_may_come_from_the_environment(tmp_path):
    ended = run_driver(
        "import ray\nray.init(log_to_driver=False)\nprint(ray.cluster_resources()['slot'])\n",
        tmp_path,
        RAY_ADDRESS="auto",
    )
    assert ended.lines[-1] == "2.0", ended.stderr


@manta_does_better("Ray 2.60 reads RAY_NAMESPACE for ray:// clients only")
def test_the_namespace_may_come_from_the_environment(tmp_path):
    ended = run_driver(
        'import ray\nray.init(address="auto")\nprint(ray.get_runtime_context().namespace)\n',
        tmp_path,
        RAY_NAMESPACE="mine",
    )
    assert ended.lines[-1] == "mine", ended.stderr


def test_local_always_starts_a_new_cluster(tmp_path):
    ended = run_driver(
        'import ray\nray.init(address="local", num_cpus=1)\nprint(ray.cluster_resources().get("slot"))\n',
        tmp_path,
        RAY_ADDRESS="auto",
    )
    assert ended.lines[-1] == "None", ended.stderr


@pytest.mark.parametrize("setting", ["num_cpus=1", "num_gpus=1", "resources={'a': 1}", "object_store_memory=10**8"])
def test_who_joins_cannot_say_what_the_cluster_has(setting: str, tmp_path):
    ended = run_driver(f'import ray\nray.init(address="auto", {setting})\n', tmp_path)
    assert ended.returncode == 1
    assert "ValueError" in ended.stderr
    assert setting.partition("=")[0] in ended.stderr


def test_a_named_actor_is_shared_between_drivers(tmp_path):
    @ray.remote
    class A:
        def ping(self):
            return "pong"

    actor = A.options(name="for-all").remote()
    ray.get(actor.ping.remote())
    ended = run_driver(JOIN + 'print(ray.get(ray.get_actor("for-all").ping.remote()))\n', tmp_path)
    assert ended.lines[-1] == "pong", ended.stderr


def test_anonymous_namespaces_differ(tmp_path):
    ended = run_driver(
        """
        import ray
        ray.init(address="auto")
        print(ray.get_runtime_context().namespace)
        try:
            ray.get_actor("for-all")
        except ValueError:
            print("not found")
        """,
        tmp_path,
    )
    assert ended.lines[-1] == "not found", ended.stderr
    assert len(ended.lines[-2]) == 36  # a uuid


def test_a_detached_actor_outlives_its_driver_and_an_ordinary_one_does_not(tmp_path):
    ended = run_driver(
        JOIN
        + """
@ray.remote
class A:
    def pid(self):
        return os.getpid()

kept = A.options(name="kept", lifetime="detached").remote()
lost = A.options(name="lost").remote()
print(ray.get(kept.pid.remote()), ray.get(lost.pid.remote()))
""",
        tmp_path,
    )
    kept, lost = map(int, ended.lines[-1].split())
    until(lambda: not is_running(lost), what="the ordinary actor's end")
    actor = ray.get_actor("kept")
    assert ray.get(actor.__ray_call__.remote(lambda self: os.getpid())) == kept
    ray.kill(actor)


HANG = (
    JOIN
    + """
here = os.path.dirname(os.path.abspath(__file__))

@ray.remote
def hang(n):
    open(f"{here}/{n}.pid", "w").write(str(os.getpid()))
    time.sleep(600)

@ray.remote
class A:
    def pid(self):
        return os.getpid()

a = A.remote()
ray.get(a.pid.remote())
open("actor.pid", "w").write(str(ray.get(a.pid.remote())))
refs = [hang.remote(n) for n in range(2)]
"""
)


def pids(folder) -> list[int]:
    """Of the two tasks and the actor of HANG, once they all run."""

    def read():
        files = [folder / name for name in ("0.pid", "1.pid", "actor.pid")]
        texts = [file.read_text() if file.exists() else "" for file in files]
        return [int(text) for text in texts] if all(texts) else None

    return until(read)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_work_of_a_killed_driver_ends(number: int, tmp_path):
    driver = start_driver(HANG + "ray.get(refs)\n", tmp_path)
    running = pids(tmp_path)
    driver.send_signal(number)
    driver.communicate(timeout=30)
    until(lambda: not any(map(is_running, running)), what="tasks and actor to end")
    until(lambda: ray.available_resources().get("CPU") == 4.0, what="CPUs to be free")


def test_the_work_of_a_driver_that_raised_ends(tmp_path):
    driver = start_driver(
        HANG
        + "while len([f for f in os.listdir(here) if f.endswith('.pid')]) < 3:\n    time.sleep(0.05)\nraise SystemExit(3)\n",
        tmp_path,
    )
    running = pids(tmp_path)
    driver.communicate(timeout=30)
    assert driver.returncode == 3
    until(lambda: not any(map(is_running, running)), what="tasks and actor to end")


def test_ctrl_c_in_get_is_prompt_and_leaves_tasks_alone(tmp_path):
    driver = start_driver(
        HANG
        + """
try:
    print("waiting", flush=True)
    ray.get(refs)
except KeyboardInterrupt:
    print("interrupted", ray.wait(refs, timeout=0)[0], ray.get(a.pid.remote()) > 0)
""",
        tmp_path,
    )
    running = pids(tmp_path)
    assert driver.stdout is not None
    until(lambda: driver.stdout.readline() == "waiting\n")
    driver.send_signal(signal.SIGINT)
    stdout, stderr = driver.communicate(timeout=30)
    assert stdout.splitlines()[-1] == "interrupted [] True", stderr
    until(lambda: not any(map(is_running, running)))


def test_sigterm_is_a_clean_exit(tmp_path):
    """Ray turns it into sys.exit: exit handlers run."""
    driver = start_driver(
        JOIN + 'import atexit\natexit.register(print, "exit handler")\nprint("ready", flush=True)\ntime.sleep(60)\n',
        tmp_path,
    )
    assert driver.stdout is not None
    until(lambda: driver.stdout.readline() == "ready\n")
    driver.terminate()
    stdout, _stderr = driver.communicate(timeout=30)
    assert "exit handler" in stdout


def test_modules_beside_the_script_are_found_by_workers(tmp_path):
    (tmp_path / "beside.py").write_text("def f(x):\n    return x + 1\n\nclass Odd(Exception):\n    pass\n")
    ended = run_driver(
        JOIN
        + """
import beside
print(ray.get(ray.remote(beside.f).remote(1)))

@ray.remote
def fails():
    raise beside.Odd("from a module")

try:
    ray.get(fails.remote())
except beside.Odd as error:
    print("caught")
""",
        tmp_path,
    )
    assert ended.lines[-2:] == ["2", "caught"], ended.stderr


def test_a_class_of_main_travels_by_value(tmp_path):
    ended = run_driver(
        JOIN
        + """
class Point:
    def __init__(self, x):
        self.x = x

@ray.remote
def move(point):
    return Point(point.x + 1)

moved = ray.get(move.remote(Point(1)))
print(moved.x, isinstance(moved, Point))
""",
        tmp_path,
    )
    assert ended.lines[-1].startswith("2 "), ended.stderr


@manta_does_better("Ray 2.60 leaves a forked child that uses the API hanging or crashing")
def test_a_fork_that_uses_the_api_is_told_so(tmp_path):
    ended = run_driver(
        JOIN
        + """
pid = os.fork()
if pid == 0:
    try:
        ray.put(1)
    except RuntimeError as error:
        print("refused:", "fork" in str(error), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(ray.get(ray.put(2)))
""",
        tmp_path,
    )
    assert ended.lines[-2:] == ["refused: True", "2"], ended.stderr
