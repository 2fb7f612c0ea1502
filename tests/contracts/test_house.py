"""The repository keeps the promises that its own documents make."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [ROOT / "runtime" / "manta", ROOT / "operator" / "manta_operator"]


def modules() -> list[Path]:
    """Our importable files, generated ones aside."""
    files = [path for package in PACKAGES for path in package.rglob("*.py")]
    return sorted(path for path in files if not re.search(r"_pb2(_grpc)?\.py$", path.name))


def tracked() -> list[Path]:
    """Files that git knows, or every file outside ignored folders where there is no git (a source archive)."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not any(part.startswith(".") for part in path.parts)]


def public_names(module: ast.Module) -> set[str]:
    """What `__all__` says, if it is written as one list of texts."""
    for node in module.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                return set(ast.literal_eval(value))
    return set()


def test_every_module_says_what_it_is_for():
    """A newcomer can read the first line of every file and know the house."""
    silent = [str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_public_names_are_documented():
    """What `manta` offers carries a docstring, or is a constant whose type says it all."""
    import manta

    undocumented = [
        name for name in manta.__all__ if callable(getattr(manta, name)) and not getattr(manta, name).__doc__
    ]

    assert manta.__all__
    assert undocumented == []


def test_every_folder_of_ours_is_a_package():
    """Import-linter does not look into folders without `__init__.py`, so one would escape the layers."""
    missing = {str(path.parent.relative_to(ROOT)) for path in modules() if not (path.parent / "__init__.py").exists()}
    assert missing == set()


def test_the_operator_folder_never_shadows_the_standard_library():
    """With an `__init__.py`, `operator/` would be imported in place of the module `operator` from the root of the checkout."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_types_are_shipped():
    """Without the marker, mypy and pyright ignore every annotation of ours."""
    assert (ROOT / "runtime" / "manta" / "py.typed").exists()


def test_no_file_knows_the_machine_it_was_written_on():
    """Absolute paths of somebody's home or checkout work on one machine only."""
    machine = re.compile(rb"(?<![\w.])/(?:root|home|Users|work)/[\w.]")
    guilty = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path != Path(__file__)
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if machine.search(line)
    ]
    assert guilty == []


def test_generated_code_is_not_committed():
    """It is built from `proto/`; a committed copy would go stale unseen."""
    assert [str(path.relative_to(ROOT)) for path in tracked() if "_pb2" in path.name] == []


def test_ci_runs_the_command_that_the_readme_names():
    """One command tells the truth, to people and to CI alike."""
    readme = (ROOT / "README.md").read_text()
    ran = [line.removeprefix("exec ") for line in (ROOT / ".ci" / "run").read_text().splitlines() if "./dev" in line]
    assert ran == ["./dev test"]
    assert re.search(r"^\./dev test\b", readme, flags=re.MULTILINE)
    assert re.search(r"^\./dev quickstart\b", readme, flags=re.MULTILINE)


def test_workflows_run_what_documents_name_by_actions_that_cannot_change():
    """A tag of somebody else's repository can be moved; a commit cannot. And what they run is what people run."""
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    lines = [line.strip().removeprefix("- ") for path in workflows for line in path.read_text().splitlines()]
    used = [line for line in lines if line.startswith("uses:")]
    assert used
    assert [line for line in used if not re.fullmatch(r"uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+", line)] == []
    ran = [line for line in lines if line.startswith("run:") and ("./dev" in line or ".ci/" in line)]
    assert [line.split()[-1] if ".ci" in line else line.removeprefix("run: ") for line in ran] == [
        "./dev check",
        ".ci/run",
    ]


def test_the_picture_of_the_layers_is_the_one_that_is_checked():
    """ARCHITECTURE.md draws what import-linter executes."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [one["layers"] for one in contracts if one["type"] == "layers" and one["containers"] == ["manta"]]
    executed = [re.sub(r"[()]", "", layer).split(" | ") for layer in layers]

    section = (ROOT / "ARCHITECTURE.md").read_text().split("## Import order")[1]
    picture = section.split("```")[1].strip().splitlines()

    assert [line.split("  ")[0].strip().split(" | ") for line in picture] == executed


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/glossary.md"]
)
def test_links_between_documents_lead_somewhere(name):
    """Every relative link names a file of the checkout."""
    document = ROOT / name
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
