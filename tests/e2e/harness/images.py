"""The project's images, built from its Dockerfile: `manta` for everything that runs, `manta-operator` for the operator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
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
#: The runtime's with what the reference programs import on top, and what that is: a driver's tables are unpickled by its workers,
#: so it is of the versions that whoever runs the tests has.
WITH_PACKAGES = f"manta-programs:{TAG}"
PACKAGES = ("pandas", "scikit-learn")
_RECIPE = Path(__file__).resolve().parent / "node" / "programs.Dockerfile"
#: Which Debian has which Python.
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILD_S = 1200.0


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


def build_packages_with_registry(docker: Engine) -> str:
    """The image with packages, as anybody would build it; its name."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(_RECIPE, Path(folder) / "Dockerfile")
        docker.docker("build", "--tag", WITH_PACKAGES, *_packages(), folder, timeout_s=BUILD_S)
    return WITH_PACKAGES


def have_packages_archive() -> Path:
    """An archive of the image with packages, built without a registry and kept until a source changes."""
    runtime = have_archive()
    wheels = _download("wheels-programs", ["pip", *_pinned()])

    def make(made: Path, room: Path) -> None:
        context = room / "context"
        context.mkdir()
        shutil.copy(_RECIPE, context / "Dockerfile")
        shutil.copytree(wheels, context / "wheelhouse")
        with (
            kept.only_one(kept.path_of("images-engine", "lock"), kept.say),
            engine(room / "e", data=kept.path_of("images-engine", "data")) as docker,
        ):
            docker.docker("load", "--quiet", "--input", runtime, timeout_s=BUILD_S)
            kept.say(f"building the image {WITH_PACKAGES}")
            docker.docker(
                "build", "--tag", WITH_PACKAGES, *_packages(),
                "--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=/wheelhouse", context,
                timeout_s=BUILD_S,
            )  # fmt: skip
            docker.docker("save", "--output", made, WITH_PACKAGES, timeout_s=BUILD_S)
            docker.docker("image", "prune", "--force")

    return kept.have("images-programs", kept.fingerprint(_RECIPE, runtime.name, wheels.name), make)


def _pinned() -> list[str]:
    return [f"{name}=={version(name)}" for name in PACKAGES]


def _packages() -> list[str]:
    return ["--build-arg", f"RUNTIME={TARGETS['runtime']}", "--build-arg", f"PACKAGES={' '.join(_pinned())}"]


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
    return _download("wheelhouse", sorted(one for one in wanted if not one.startswith("manta-")))


def _download(name: str, requirements: list[str]) -> Path:
    """A folder of wheels with all that these need."""

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

    return kept.have(name, kept.fingerprint(PYTHON, *requirements), make)
