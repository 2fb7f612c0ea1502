"""Makes the dashboards for Grafana in charts/manta-operator/dashboards: `python -m tools.dashboards` writes them.

- `form`: what a dashboard is, and how Grafana wants it written.
- `cluster`, `operator`: what the two show.
"""

from __future__ import annotations

from pathlib import Path

from tools.dashboards import cluster, operator
from tools.dashboards.form import Dashboard, rendered

FOLDER = Path(__file__).resolve().parents[2] / "charts/manta-operator/dashboards"

ALL: tuple[Dashboard, ...] = (cluster.DASHBOARD, operator.DASHBOARD)


def files() -> dict[Path, str]:
    """What should be in which file."""
    return {FOLDER / one.file: rendered(one) for one in ALL}
