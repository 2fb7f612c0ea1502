"""The program a newcomer runs first does its work, with NumPy and without, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.programs.harness import BETWEEN
from tests.process.semantics.support import ANSI

PROGRAM = Path(__file__).parents[3] / "examples" / "quickstart.py"

BLOCKED = """
import runpy, sys
sys.modules["numpy"] = None
runpy.run_path(sys.argv[1], run_name="__main__")
"""

ELSEWHERE = """
import runpy, sys
sys.platform = "darwin"
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MANTA_"))}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=50, check=False, env=environ
    )


@pytest.mark.parametrize("command", [[str(PROGRAM)], ["-c", BLOCKED, str(PROGRAM)]], ids=["NumPy", "no NumPy"])
def test_it_says_what_it_ran_on_and_what_came_out(command):
    ended = run(*command)
    assert ended.returncode == 0, ended.stderr
    text = ANSI.sub("", BETWEEN.sub("\n", ended.stdout))
    assert re.search(r"^Manta \S+, Python \S+, a cluster inside this machine$", text, re.MULTILINE)
    assert re.search(r"^  \d+ CPUs, up to [\d.]+ GiB of shared memory", text, re.MULTILINE)
    assert re.search(r"^  664,579 primes, by worker processes \d+", text, re.MULTILINE)
    assert re.search(r"^\(Scoreboard pid=\d+\) slice 16 has come", text, re.MULTILINE)
    assert "nothing is left running" in text
    assert ended.stderr == "", "no progress bar where nobody watches, no complaint"


def test_elsewhere_than_on_linux_its_one_line_says_what_to_do():
    ended = run("-c", ELSEWHERE, str(PROGRAM))
    assert ended.returncode == 1
    assert ended.stderr.startswith("The embedded cluster needs Linux; this is macOS."), ended.stderr
    assert ended.stderr.count("\n") == 1
