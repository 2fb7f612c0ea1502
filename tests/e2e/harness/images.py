"""The project's images, built from its Dockerfile: `manta` for everything that runs, `manta-operator` for the operator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from manta.version import __version__
from tests.e2e.harness import debian, kept
from tests.e2e.harness.engine import Engine, engine
from tests.e2e.harness.kept import CannotMakeError

ROOT = Path(__file__).resolve().parents[3]
#: Drivers and workers need the same: the images carry that of whoever runs the tests.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG = f"{__version__}-py{PYTHON}"
TARGETS = {"runtime": f"manta:{TAG}", "operator": f"manta-operator:{TAG}"}
#: Of the checkout, what the Dockerfile copies.
CONTEXT = (
    "Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "hatch_build.py", "proto", "runtime", "operator",
)  # fmt: skip
#: Which Debian has which Python.
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILD_S = 1200.0
#: What the Dockerfile puts on its base: the lists of users and groups, the environment.
LAYERS_OVER_BASE = 2


@dataclass(frozen=True, slots=True)
class Images:
    """What a cluster has on its nodes.

    Attributes:
        runtime: The name of the image of control, gateway, dashboard, raylets and jobs.
        operator: That of the operator's.
    """

    runtime: str = TARGETS["runtime"]
    operator: str = TARGETS["operator"]


def build_with_registry(docker: Engine) -> Images:
    """Build them as anybody would, on the machine's own engine, and leave them there."""
    for target, name in TARGETS.items():
        docker.docker(
            "build",
            "--target",
            target,
            "--tag",
            name,
            "--build-arg",
            f"BASE=python:{PYTHON}-slim",
            ROOT,
            timeout_s=BUILD_S,
        )
    return Images()


def have_archive() -> Path:
    """Build them without a registry; one archive of both, kept until a source changes."""
    base, wheels = _base(), _wheelhouse()

    def make(made: Path, room: Path) -> None:
        context = room / "context"
        _copy_context(context)
        shutil.copytree(wheels, context / "wheelhouse")
        # This daemon's layers are kept, so that another line of code is not another download of everything.
        with (
            kept.only_one(kept.path_of("images-engine", "lock"), kept.say),
            engine(room / "e", data=kept.path_of("images-engine", "data")) as docker,
        ):
            docker.docker("import", "--change", f"ENV PATH={PATH}", base, f"localhost/{base.name}", timeout_s=BUILD_S)
            for target, name in TARGETS.items():
                kept.say(f"building the image {name}")
                docker.docker(
                    "build", "--target", target, "--tag", name, "--build-arg", f"BASE=localhost/{base.name}",
                    "--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=/wheelhouse", context,
                    timeout_s=BUILD_S,
                )  # fmt: skip
            # In one archive: the base, which they share, is carried to each node once.
            docker.docker("save", "--output", made, *TARGETS.values(), timeout_s=BUILD_S)
            docker.docker("image", "prune", "--force")

    return kept.have("images", kept.fingerprint(Path(__file__), *_sources(), base.name, wheels.name, TAG), make)


def what_is_missing() -> str:
    """Why they cannot be built without a registry; empty if they can."""
    return (
        ""
        if PYTHON in SUITES
        else f"no Debian has Python {PYTHON}, only {' and '.join(SUITES)}: PYTHON=... ./dev setup"
    )


def _sources() -> list[Path]:
    return [ROOT / name for name in CONTEXT]


def _copy_context(context: Path) -> None:
    context.mkdir()
    for source in _sources():
        if source.is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", "*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")
            shutil.copytree(source, context / source.name, ignore=unwanted)
        else:
            shutil.copy(source, context)


def _base() -> Path:
    """A file system with this Python and little else: what python:X-slim is elsewhere."""
    return debian.have(f"base-py{PYTHON}", SUITES[PYTHON], ["python3", "libstdc++6"])


def _wheelhouse() -> Path:
    """Wheels of all that the images hold and are built with, as there is no way out of the engine's network."""
    wanted = {"pip", "setuptools"}
    for path in (ROOT / "pyproject.toml", ROOT / "operator/pyproject.toml"):
        said = tomllib.loads(path.read_text())
        wanted |= {*said["build-system"]["requires"], *said["project"]["dependencies"]}
        wanted |= {*said["project"].get("optional-dependencies", {}).get("numpy", ())}
    requirements = sorted(one for one in wanted if not one.startswith("manta-"))

    def make(made: Path, room: Path) -> None:
        kept.say("downloading wheels for the images")
        made.mkdir()
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--only-binary=:all:",
            "--dest",
            str(made),
            *requirements,
        ]
        done = subprocess.run(command, stdout=sys.stderr, cwd=room, env=dict(os.environ), check=False)
        if done.returncode:
            raise CannotMakeError(f"`pip download` ended with status {done.returncode}; its words are above")

    return kept.have("wheelhouse", kept.fingerprint(PYTHON, *requirements), make)
