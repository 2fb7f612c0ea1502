"""Charts as helm renders them, and helm's words when it does not."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHARTS = {name: ROOT / "charts" / name for name in ("manta-operator", "manta-cluster")}
#: What releases are called where a test does not say: as the docs do.
RELEASES = {"manta-operator": ("manta-operator", "manta-system"), "manta-cluster": ("demo", "default")}
#: The oldest Kubernetes that the charts say they are for.
KUBERNETES = "1.30.0"

Manifest = dict[str, Any]


class RefusedError(Exception):
    """Helm did not render; its words."""


@dataclass(frozen=True, slots=True)
class Helm:
    """A helm with a home of its own.

    Attributes:
        program: The binary.
        home: Where it keeps what it keeps.
    """

    program: Path
    home: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command; its status is the caller's to look at."""
        kept = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [str(self.program), *arguments],
            cwd=ROOT,
            env={**os.environ, **kept, "KUBECONFIG": os.devnull},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def render(self, chart: str, *flags: str, values: Any = None) -> list[Manifest]:
        """What `helm install` would make, in its order.

        Args:
            chart: The chart's name.
            flags: Such as `--set` and its argument.
            values: A values file's content, or its path.

        Raises:
            RefusedError: Helm said no.
        """
        release, namespace = RELEASES[chart]
        arguments = ["template", release, str(CHARTS[chart]), "-n", namespace, "--kube-version", KUBERNETES, *flags]
        if isinstance(values, Path):
            arguments += ["-f", str(values)]
        elif values is not None:
            file = self.home / "values.yaml"
            file.write_text(yaml.safe_dump(values))
            arguments += ["-f", str(file)]
        done = self.run(*arguments)
        if done.returncode:
            raise RefusedError(done.stderr)
        return [one for one in yaml.safe_load_all(done.stdout) if one]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of a kind."""
    return [one for one in manifests if one["kind"] == kind]


def ci_values(chart: str) -> list[Path]:
    """The chart's values for CI: each file is one way to use it."""
    return sorted((CHARTS[chart] / "ci").glob("*-values.yaml"))


CASES = [(chart, None) for chart in CHARTS] + [(chart, path) for chart in CHARTS for path in ci_values(chart)]


def name_of(case: Any) -> str:
    """For pytest."""
    return case.stem if isinstance(case, Path) else str(case or "default")
