"""mypy and pyright see what users mean: each fixture's marked lines are errors, and nothing else is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.py"))

#: Pyright as a package that brings its own node; not among our dependencies, for its size.
PYRIGHT = shutil.which(
    "basedpyright", path=os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", "")))
)

PYRIGHT_SETTINGS = {
    "typeCheckingMode": "standard",
    "pythonVersion": "3.11",
    "extraPaths": [str(ROOT / "runtime")],
    # Expressions stand alone on purpose.
    "reportUnusedExpression": "none",
    "reportUnusedCoroutine": "none",
}

Findings = dict[str, set[int]]


def marked() -> Findings:
    """Lines that say they are errors, by file name."""
    return {
        path.name: {
            number for number, line in enumerate(path.read_text().splitlines(), 1) if line.rstrip().endswith("# error")
        }
        for path in FIXTURES
    }


def difference(found: dict[str, dict[int, str]]) -> list[str]:
    """What a checker missed, and what it found too much, one line each."""
    wanted = marked()
    missed = [f"{name}:{line}: no error" for name in wanted for line in sorted(wanted[name] - set(found.get(name, {})))]
    extra = [
        f"{name}:{line}: {text}"
        for name, texts in sorted(found.items())
        for line, text in sorted(texts.items())
        if line not in wanted.get(name, set())
    ]
    return missed + extra


def run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(180)
def test_mypy_finds_the_mistakes_and_nothing_else():
    """With the repository's settings, its plugin included."""
    output = run([sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", *map(str, FIXTURES)])
    found: dict[str, dict[int, str]] = {}
    for line in output.splitlines():
        about = re.fullmatch(r"(?P<path>[^:]+):(?P<line>\d+): error: (?P<text>.*)", line)
        if about is not None:
            found.setdefault(Path(about["path"]).name, {})[int(about["line"])] = about["text"]

    assert "" == "\n".join(difference(found))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_pyright_finds_the_mistakes_and_nothing_else(tmp_path: Path):
    assert PYRIGHT is not None, "basedpyright belongs to the development tools: run ./dev setup"
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps({**PYRIGHT_SETTINGS, "include": [str(path.parent) for path in FIXTURES[:1]]}))
    output = json.loads(run([PYRIGHT, "--outputjson", "--pythonpath", sys.executable, "--project", os.fspath(project)]))
    found: dict[str, dict[int, str]] = {}
    for one in output["generalDiagnostics"]:
        if one["severity"] == "error":
            line = one["range"]["start"]["line"] + 1
            found.setdefault(Path(one["file"]).name, {})[line] = one["message"]

    assert len(FIXTURES) == output["summary"]["filesAnalyzed"]
    assert "" == "\n".join(difference(found))
