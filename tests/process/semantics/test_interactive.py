"""Where code is typed rather than imported: `python -c`, a program on standard input, the REPL, a test under pytest."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.process import implementation
from tests.process.semantics.support import ANSI, manta_only

pytestmark = [pytest.mark.shared_cluster, manta_only("ways into Manta")]

CLUSTER = None  # each of these starts its own

PROGRAM = """
import sys
import manta.compat
manta.compat.install()
import ray
ray.init(num_cpus=1, logging_level="ERROR")

class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b

def helper(x):
    return 2 * x

@ray.remote
def f(pair):
    print("in a worker")
    return Pair(helper(pair.a), ray.__name__)

@ray.remote
class Counter:
    n = 0
    def add(self, x):
        self.n += x
        return self.n

counter = Counter.remote()
shown = ray.get(f.remote(Pair(1, 2)))
said = [shown.a, shown.b, isinstance(shown, Pair), ray.get(counter.add.remote(3))]
try:
    ray.get(ray.remote(lambda: 1 / 0).remote())
except ZeroDivisionError as error:
    failed = type(error).__name__

# In one piece: between two pieces of a line a worker's may come.
_ = sys.stdout.write(f"{said}\\n{failed}\\n")

"""


def python(*arguments: str, stdin: str = "", cwd=None) -> tuple[list[str], str]:
    ended = subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=cwd,
        env=implementation.driver_environment(PYTHONSTARTUP="", PYTEST_ADDOPTS=""),
    )
    assert ended.returncode == 0, ended.stderr
    return ANSI.sub("", ended.stdout).splitlines(), ended.stderr


@pytest.mark.parametrize("way", [["-c", PROGRAM], ["-"], ["-i", "-q"]], ids=["-c", "stdin", "the REPL"])
def test_what_is_typed_runs_in_workers(way: list[str], tmp_path):
    """Functions and classes of `__main__` travel by value; what a worker prints is shown."""
    lines, _ = python(*way, stdin="" if "-c" in way else PROGRAM, cwd=tmp_path)
    assert "[2, 'manta', True, 3]" in lines
    assert "RayTaskError(ZeroDivisionError)" in lines
    assert any(line.startswith("(f pid=") and line.endswith("in a worker") for line in lines)


def test_the_repl_shows_what_things_are(tmp_path):
    lines, stderr = python(
        "-i",
        "-q",
        stdin="import manta\nmanta.init(num_cpus=1, logging_level='ERROR')\nf = manta.remote(len)\nf\nf.remote([])\n"
        "manta.get(f.remote(5))\nmanta.get(f.remote([5, 6]))\n",
        cwd=tmp_path,
    )
    context, function, ref, length = lines
    assert context.startswith("RayContext(")
    assert function == "<remote function len>"
    assert ref.startswith("ObjectRef(")
    assert length == "2", "the error before it has ended nothing"
    assert "has no len()" in stderr


def test_a_test_of_a_user_has_its_cluster_in_a_fixture(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        """
import manta, pytest

@pytest.fixture(scope="module", autouse=True)
def cluster():
    with manta.init(num_cpus=1):
        yield

@manta.remote
def double(x):
    print("shown or not, never in the way")
    return 2 * x

@pytest.mark.parametrize("x", range(3))
def test_double(x, capfd):
    assert manta.get(double.remote(x)) == 2 * x

def test_an_error():
    with pytest.raises(ZeroDivisionError):
        manta.get(manta.remote(lambda: 1 / 0).remote())
"""
    )
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path)]
    lines, _ = python(*arguments, str(tmp_path / "test_mine.py"), cwd=tmp_path)
    assert lines[-1].startswith("4 passed"), lines


def test_an_interpreter_that_drops_asserts_checks_as_much(tmp_path):
    """`python -OO`: wrong use is refused all the same, and all works without docstrings."""
    lines, _ = python(
        "-OO",
        "-c",
        """
import manta
for call in (manta.remote, lambda: manta.method(1), lambda: manta.method(pace=1)):
    try:
        call()
    except AssertionError as error:
        print(type(error).__name__)
manta.init(num_cpus=1, logging_level="ERROR")
context = manta.get_runtime_context()
for call in (context.get_assigned_resources, lambda: context.was_current_actor_reconstructed):
    try:
        call()
    except AssertionError as error:
        print(type(error).__name__)
print(manta.get(manta.remote(lambda block: len(block)).remote(manta.put(bytes(1_000_000)))))
""",
        cwd=tmp_path,
    )
    assert lines == ["AssertionError"] * 5 + ["1000000"]
