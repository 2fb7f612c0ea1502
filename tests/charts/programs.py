"""helm and helm-unittest: `python -m tests.charts.programs` builds them, once.

A helm 3 that is installed is taken as it is. helm-unittest is a program of its own here, no plugin: nothing gets installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.gotools import SOURCES, CannotBuildError, GoProgram, say_aloud, say_nothing


def _settings(program: GoProgram) -> Mapping[str, str]:
    """What helm says of itself, and the Kubernetes for which it renders where none is asked."""
    minor = program.version_of("k8s.io/client-go").split(".")[1]
    kubernetes = {
        f"helm.sh/helm/v3/pkg/{package}.k8sVersion{part}": text
        for package in ("chartutil", "lint/rules")
        for part, text in (("Major", "1"), ("Minor", minor))
    }
    return {"helm.sh/helm/v3/internal/version.version": f"v{program.version_of('helm.sh/helm/v3')}", **kubernetes}


HELM = GoProgram(
    name="helm",
    source=SOURCES / "helm",
    module="helm.sh/helm/v3",
    package="helm.sh/helm/v3/cmd/helm",
    about="helm, about two minutes on two quiet cores",
    settings=_settings,
)
UNITTEST = GoProgram(
    name="helm-unittest",
    source=SOURCES / "helm",
    module="github.com/helm-unittest/helm-unittest",
    package="github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
    about="helm-unittest, a minute when helm has been built",
    settings=_settings,
)


def installed_helm() -> Path | None:
    """A helm 3 of this machine's own that knows `--take-ownership`."""
    found = shutil.which("helm")
    if found is None:
        return None
    said = subprocess.run([found, "version", "--short"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v3\.(\d+)\.", said)
    return Path(found) if match and int(match[1]) >= 17 else None


def helm(say: Callable[[str], None] = say_nothing) -> Path:
    """A helm: the one in the cache, else an installed one, else one that is built now.

    Raises:
        CannotBuildError: There is none and none can be made.
    """
    if not HELM.path.exists() and (installed := installed_helm()):
        return installed
    return HELM.build(say)


def what_is_missing() -> str:
    """Why tests cannot use helm and helm-unittest now; empty if they can."""
    if not UNITTEST.path.exists():
        return UNITTEST.what_is_missing() or f"{UNITTEST.path} has not been built: run ./dev kube"
    if not HELM.path.exists() and installed_helm() is None:
        return HELM.what_is_missing() or f"{HELM.path} has not been built: run ./dev kube"
    return ""


def main() -> int:
    """Have both, with progress on standard error and their paths on standard output."""
    try:
        print(helm(say_aloud))
        print(UNITTEST.build(say_aloud))
    except CannotBuildError as error:
        print(f"cannot build helm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
