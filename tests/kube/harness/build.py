"""Builds the control plane's binary from Go modules, once: `python -m tests.kube.harness.build`, or `./dev kube`.

It needs Go and a few hundred MB of modules; on two quiet cores it takes about five minutes. How it is kept is
`tests.support.gotools`' business.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.gotools import CannotBuildError, GoProgram, say_aloud, say_nothing

__all__ = ["CannotBuildError", "binary", "build", "version", "what_is_missing"]


def _settings(program: GoProgram) -> Mapping[str, str]:
    """What the parts say when they are asked for their version."""
    names = "k8s.io/component-base/version"
    major, minor, _ = program.version.split(".")
    return {
        f"{names}.gitVersion": f"v{program.version}",
        f"{names}.gitMajor": major,
        f"{names}.gitMinor": minor,
    }


PROGRAM = GoProgram(
    name="kube",
    source=Path(__file__).resolve().parent / "binary",
    module="k8s.io/kubernetes",
    package=".",
    about="etcd and Kubernetes, about five minutes on two quiet cores",
    settings=_settings,
)


def version() -> str:
    """The version of Kubernetes that go.mod names, such as 1.34.4."""
    return PROGRAM.version


def binary() -> Path:
    """Where the binary is, or will be: named by version, sources and flags."""
    return PROGRAM.path


def what_is_missing() -> str:
    """Why there is no binary here and none can be built; empty if there is or can be."""
    return PROGRAM.what_is_missing()


def build(say: Callable[[str], None] = say_nothing) -> Path:
    """Have the binary, and return its path.

    Args:
        say: Is told how it goes, a line at a time.

    Raises:
        CannotBuildError: Go is not there, or it failed.
    """
    return PROGRAM.build(say)


def main() -> int:
    """Build, with progress on standard error and the path on standard output."""
    try:
        print(build(say_aloud))
    except CannotBuildError as error:
        print(f"cannot build Kubernetes' control plane: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
