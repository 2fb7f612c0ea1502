"""What the charts make without any values, kept beside the tests: `python -m tests.charts.snapshots` writes it anew."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml

from tests.charts import programs
from tests.charts.rendering import CHARTS, Helm

FOLDER = Path(__file__).resolve().parent / "rendered"


def file_of(chart: str) -> Path:
    """Where it is kept."""
    return FOLDER / f"{chart}.yaml"


def taken(helm: Helm, chart: str) -> str:
    """As it is now. Of definitions and dashboards the names alone: they are compared with their own files."""
    manifests = helm.render(chart)
    for one in manifests:
        if one["kind"] == "CustomResourceDefinition":
            one["spec"] = "as in its file"
        if one["kind"] == "ConfigMap":
            one["data"] = dict.fromkeys(one["data"], "as in its file")
    return yaml.safe_dump_all(manifests, sort_keys=False, width=120)


def main() -> None:
    """Write all."""
    with tempfile.TemporaryDirectory() as home:
        helm = Helm(programs.helm(), Path(home))
        for chart in CHARTS:
            file_of(chart).parent.mkdir(exist_ok=True)
            file_of(chart).write_text(taken(helm, chart))
            print(file_of(chart))


if __name__ == "__main__":
    main()
