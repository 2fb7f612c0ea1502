"""`import manta` stays cheap: nothing expensive is on its path."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"

#: Each costs between 5 and 130 ms, or pulls in one that does. A driver that only submits tasks needs none at import.
EXPENSIVE = (
    "asyncio",
    "cloudpickle",
    "dataclasses",
    "google.protobuf",
    "grpc",
    "inspect",
    "numpy",
    "ssl",
    "typing_extensions",
)

#: Reports the first import of each named module, with the line of ours that asked for it. Installed before anything else.
WATCH = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in wanted:
            wanted.discard(name)
            frame, asked = sys._getframe(1), "?"
            while frame is not None:
                if runtime in frame.f_code.co_filename:
                    asked = f"{frame.f_code.co_filename.removeprefix(runtime)}:{frame.f_lineno}"
                    break
                frame = frame.f_back
            print(f"{name} (asked for by {asked})")
        return None
wanted, runtime = set(sys.argv[2:]), sys.argv[1]
wanted -= sys.modules.keys()  # what the interpreter itself has loaded is not our doing
sys.meta_path.insert(0, Watch())
import manta
"""


def test_importing_manta_loads_nothing_expensive():
    """Fresh interpreter; a culprit is named together with the line that imports it."""
    watch = subprocess.run(
        [sys.executable, "-c", WATCH, str(RUNTIME), *EXPENSIVE], capture_output=True, text=True, check=False, timeout=60
    )

    assert (watch.returncode, watch.stdout, watch.stderr) == (0, "", "")


def test_enum_is_only_loaded_by_the_standard_library():
    """`signal`, `socket` and `re` import it, so it can't be kept out; but classes made of it cost, so we make none there."""
    listing = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, manta; print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('manta') and m.__file__))",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    ours = [Path(name) for name in listing.stdout.split()]

    assert ours
    assert [] == [f"{file.relative_to(RUNTIME)}" for file in ours if "enum" in imported_at_import_time(file)]


def imported_at_import_time(file: Path) -> set[str]:
    """Modules that executing a file imports: those outside functions and outside `if TYPE_CHECKING`."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=orelse):
                pending += orelse
                continue
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module)):
                found.add(module)
        pending += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize(
    "source", ["import enum", "from enum import Enum", "class A:\n    import enum", "if x:\n    import enum"]
)
def test_the_finder_of_imports_finds(source, tmp_path):
    """The check above would notice any of these."""
    file = tmp_path / "module.py"
    file.write_text(source)
    assert "enum" in imported_at_import_time(file)


@pytest.mark.parametrize(
    "source", ["def f():\n    import enum", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import enum"]
)
def test_late_and_typing_imports_are_free(source, tmp_path):
    """They do not run when the module is imported."""
    file = tmp_path / "module.py"
    file.write_text(source)
    assert "enum" not in imported_at_import_time(file)
