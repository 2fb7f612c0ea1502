"""Names and output lines that try to be something else, and arguments that are too big."""

# mypy: ignore-errors
# The calls are wrong on purpose; a type checker finds most of them.

from __future__ import annotations

import re
from pathlib import Path

import pytest

import manta
from manta import exceptions
from tests.process.semantics.support import plain, run_driver

pytestmark = pytest.mark.shared_cluster

NAMES = [
    "../../etc/passwd",
    "a/b",
    "a\nb",
    "<script>",
    "%s%n",
    "'; DROP TABLE actors",
    "ü" * 100,
    "x" * 200,
    " ",
    "\x1b[31m",
]


@manta.remote
class A:
    def ping(self):
        return "pong"


@pytest.mark.parametrize("name", NAMES)
def test_any_text_may_name_an_actor(name: str):
    actor = A.options(name=name).remote()
    assert manta.get(manta.get_actor(name).ping.remote(), timeout=20) == "pong"
    manta.kill(actor)


@pytest.mark.parametrize("name", NAMES)
def test_any_text_may_name_a_task(name: str):
    assert manta.get(manta.remote(lambda: 1).options(name=name).remote(), timeout=20) == 1


@pytest.mark.parametrize("namespace", ["../..", "a\nb", "ü"])
def test_any_text_may_be_a_namespace(namespace: str):
    actor = A.options(name="n", namespace=namespace).remote()
    assert manta.get(manta.get_actor("n", namespace=namespace).ping.remote(), timeout=20) == "pong"
    manta.kill(actor)


def test_a_name_that_is_refused_is_not_repeated_in_full():
    """64 KiB is no name."""
    with pytest.raises(ValueError, match="name") as caught:
        A.options(name="x" * 65_537).remote()
    assert len(str(caught.value)) < 1000


def test_names_make_no_files_outside_the_session(tmp_path):
    run_driver(
        """
        import manta
        manta.init(num_cpus=1)
        f = manta.remote(lambda: print("x"))
        manta.get(f.options(name="../../../../escaped").remote())
        """,
        tmp_path,
    )
    assert not list(Path("/tmp").glob("*escaped*"))
    assert [path.name for path in tmp_path.iterdir()] == ["driver.py"]


HOSTILE_OUTPUT = r"""
import os, sys, manta
manta.init(num_cpus=1)

@manta.remote
def speak(how):
    if how == "bytes":
        os.write(1, b"\xff\xfe broken utf-8\n")
    elif how == "nul":
        print("a\0b")
    elif how == "colour":
        print("\x1b[31mred without end")
    elif how == "long":
        print("y" * 3_000_000)
    elif how == "blank":
        print("\n\n\n")
    elif how == "carriage":
        print("50%\r100%")
    elif how == "magic":
        print("::manta:: {\"task\": \"other\"}")
        print("\x1e\x1f:actor_name:Other")
        print("\x1e\x1f:task_name:Other")
        print("::stdout_magic::")
    elif how == "closed":
        sys.stdout.close()
    elif how == "fd":
        os.close(1)
    return how

for how in ("bytes", "nul", "colour", "long", "blank", "carriage", "magic", "fd", "closed"):
    # In one piece: between two pieces of a line a worker's may come.
    sys.stdout.write(f"got {manta.get(speak.remote(how), timeout=20)}\n")
sys.stdout.write(f"got {manta.get(speak.remote('end'), timeout=20)}\n")
"""


def test_output_of_any_kind_neither_kills_nor_impersonates(tmp_path):
    ended = run_driver(HOSTILE_OUTPUT, tmp_path)
    # Anywhere: into a line longer than a pipe takes at once others come, if Python does not buffer.
    got = re.findall(r"got \w+$", ended.stdout, re.MULTILINE)
    assert len(got) == 10, ended.stderr
    names = set(re.findall(r"^\((\w+) pid=", "\n".join(ended.lines), re.MULTILINE))
    assert names <= {"speak"}
    assert "Traceback" not in ended.stderr


def test_an_argument_bigger_than_the_store_says_both_sizes():
    with pytest.raises(exceptions.ObjectStoreFullError, match=r"\d"):
        manta.put(bytes(200 * 1024 * 1024))


def test_a_result_bigger_than_the_store():
    with pytest.raises(exceptions.ObjectStoreFullError):
        manta.get(manta.remote(lambda: bytes(200 * 1024 * 1024)).remote(), timeout=30)


def test_a_full_store_names_who_holds_it():
    held = [manta.put(bytes(30 * 1024 * 1024)) for _ in range(3)]
    with pytest.raises(exceptions.ObjectStoreFullError) as caught:
        held += [manta.put(bytes(30 * 1024 * 1024)) for _ in range(3)]
    assert re.search(r"\d+(\.\d+)? ?(MiB|MB|bytes)", plain(caught.value)), plain(caught.value)


def test_a_function_that_drags_hundreds_of_megabytes_along_is_refused():
    ballast = bytes(120 * 1024 * 1024)

    @manta.remote
    def heavy():
        return len(ballast)

    with pytest.raises(ValueError, match=r"(?i)heavy.*(MiB|MB)"):
        heavy.remote()


def test_a_thousand_arguments():
    assert manta.get(manta.remote(lambda *a: len(a)).remote(*range(1000)), timeout=20) == 1000
