"""What workers print and where the driver shows it."""

from __future__ import annotations

import re

import pytest

from tests.process.semantics.support import ANSI, Ended, run_driver, start_driver, until

pytestmark = pytest.mark.shared_cluster

CLUSTER = None  # the drivers below start their own

PROGRAM = """
import logging, os, sys, ray
ray.init(num_cpus=4, include_dashboard=False)

@ray.remote
def speak(text):
    print(text)
    print(text + " on stderr", file=sys.stderr)
    return os.getpid()

@ray.remote
class Fish:
    def __init__(self, name=None):
        self.name = name
        print("born")

    def say(self, text):
        print(text)

@ray.remote
class Named:
    def __repr__(self):
        return "Named(7)"

    def say(self, text):
        print(text)

pid = ray.get(speak.remote("hello"))
ray.get(speak.options(name="christened").remote("hi"))
ray.get(Fish.remote().say.remote("blub"))
ray.get(Named.remote().say.remote("blub"))
ray.get(speak.remote("two\\nlines"))
ray.get(speak.remote("ünïcödé ✓"))
ray.get(speak.remote(""))
ray.get(speak.remote("123"))
ray.get(speak.remote("x" * 5000))
ray.get(speak.remote("not (a pid=5) prefix"))

@ray.remote
def numbered(n):
    print(f"step {n}")

ray.get([numbered.remote(n) for n in range(8)])

@ray.remote
def talks():
    for n in range(300):
        print("line", n)

ray.get(talks.remote())
logging.getLogger().setLevel(logging.INFO)

@ray.remote
def logs():
    logging.getLogger("user").warning("from a logger")

ray.get(logs.remote())
sys.stdout.write(f"pid {pid}\\n")  # in one piece: `print` writes in several, and a worker's line may come between them

@ray.remote
def no_newline():
    sys.stdout.write("unfinished")
    sys.stdout.flush()

ray.get(no_newline.remote())
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return run_driver(PROGRAM, tmp_path_factory.mktemp("logs"))


def forwarded(ended: Ended, name: str) -> list[str]:
    """Lines on the driver's stdout with this name in their prefix."""
    found = [re.fullmatch(rf"\({re.escape(name)} pid=\d+\) ?(.*)", line) for line in ended.lines]
    return [match[1] for match in found if match]


def test_a_line_is_shown_with_the_tasks_name_and_pid(ended: Ended):
    pid = next(line.split()[1] for line in ended.lines if line.startswith("pid "))
    assert f"(speak pid={pid}) hello" in ended.lines


def test_stderr_goes_to_stderr(ended: Ended):
    stderr = ANSI.sub("", ended.stderr)
    assert re.search(r"^\(speak pid=\d+\) hello on stderr$", stderr, re.MULTILINE)
    assert "hello on stderr" not in ended.stdout


def test_a_task_name_from_options_is_shown(ended: Ended):
    assert forwarded(ended, "christened") == ["hi"]


def test_an_actor_is_shown_by_its_class(ended: Ended):
    assert forwarded(ended, "Fish") == ["born", "blub"]


def test_an_actor_with_a_repr_is_shown_by_it(ended: Ended):
    assert forwarded(ended, "Named(7)") == ["blub"]


def test_each_line_has_its_prefix(ended: Ended):
    said = forwarded(ended, "speak")
    at = said.index("two")
    assert said[at : at + 2] == ["two", "lines"]


@pytest.mark.parametrize("text", ["ünïcödé ✓", "123", "x" * 5000, "not (a pid=5) prefix"])
def test_any_text_comes_through(ended: Ended, text: str):
    assert text in forwarded(ended, "speak")


def test_an_unfinished_line_is_shown(ended: Ended):
    """At the latest when the driver ends. On Ray 2.60 the worker's next line is glued to it, so it stands last here."""
    assert forwarded(ended, "no_newline") == ["unfinished"]


def test_many_lines_keep_their_order_and_none_is_lost(ended: Ended):
    assert forwarded(ended, "talks") == [f"line {n}" for n in range(300)]


def test_lines_that_differ_in_digits_only_are_all_shown(ended: Ended):
    """Ray needs RAY_DEDUP_LOGS=0 for this (set by these tests); Manta's default must not hide them."""
    assert sorted(forwarded(ended, "numbered")) == [f"step {n}" for n in range(8)]


def test_a_logger_writes_to_stderr(ended: Ended):
    assert re.search(r"\(logs pid=\d+\) .*from a logger", ANSI.sub("", ended.stderr))


def test_forwarding_can_be_turned_off(tmp_path):
    ended = run_driver(
        """
        import ray
        ray.init(num_cpus=1, log_to_driver=False)

        @ray.remote
        def speak():
            print("unheard")

        ray.get(speak.remote())
        print("end")
        """,
        tmp_path,
    )
    assert ended.lines == ["end"]


def test_forwarding_can_be_turned_off_by_the_environment(tmp_path):
    ended = run_driver(
        "import ray\nray.init(num_cpus=1)\nray.get(ray.remote(lambda: print('unheard')).remote())\nprint('end')\n",
        tmp_path,
        RAY_LOG_TO_DRIVER="0",
    )
    assert ended.lines == ["end"]


def test_the_prefix_is_coloured_unless_told_otherwise(tmp_path):
    """Which colour is a matter of taste: on Ray 2.60 cyan or light blue, by process."""
    ended = run_driver(
        "import ray\nray.init(num_cpus=1)\nray.get(ray.remote(lambda: print('seen')).remote())\n",
        tmp_path,
        RAY_COLOR_PREFIX="1",
    )
    assert re.search(r"\x1b\[\d+m\(<lambda> pid=\d+\)\x1b\[(0|39)m seen", ended.stdout)


UNASKED = """
    import os, time, ray
    ray.init(num_cpus=1)

    @ray.remote
    def fails():
        raise ValueError("nobody asked")

    ref = fails.remote()
    ray.get(ray.remote(lambda: 1).remote())  # one CPU: the first has ended
    del ref
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and not os.path.exists("stop"):
        time.sleep(0.05)
    """


def test_an_error_nobody_asked_for_is_told(tmp_path):
    """When the last ref of a failed task goes without a get. On Ray 2.60 a wait counts as having asked (checked)."""
    driver = start_driver(UNASKED.replace("SECONDS", "20"), tmp_path)
    assert driver.stderr is not None
    until(lambda: "nobody asked" in driver.stderr.readline(), what="a line about the error")
    (tmp_path / "stop").touch()
    assert driver.wait(30) == 0


def test_errors_nobody_asked_for_can_be_silenced(tmp_path):
    ended = run_driver(UNASKED.replace("SECONDS", "2"), tmp_path, RAY_IGNORE_UNHANDLED_ERRORS="1")
    assert "nobody asked" not in ended.stdout + ended.stderr
