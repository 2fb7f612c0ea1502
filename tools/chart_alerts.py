"""Writes the table of alerts in docs/kubernetes/monitoring.md from the chart's alerts.yaml: `python tools/chart_alerts.py`."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ALERTS = ROOT / "charts/manta-operator/alerts.yaml"
PAGE = ROOT / "docs/kubernetes/monitoring.md"
_PLACE = re.compile(r"<!-- alerts.*?-->.*<!-- end of alerts -->", re.DOTALL)
_VALUE = re.compile(r"\{\{ ?\$(?:labels\.)?(\w+)[^}]*\}\}")


def table() -> str:
    """What each alert says, with names in place of values."""
    rows = ["| alert | severity | after | says |", "|---|---|---|---|"]
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            says = _VALUE.sub(lambda found: found[1].upper().removeprefix("MANTA_"), rule["annotations"]["summary"])
            after = rule.get("for", "at once")
            rows.append(f"| `{rule['alert']}` | {rule['labels']['severity']} | {after} | {says} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """The page, with this table in its place."""
    return _PLACE.sub(f"<!-- alerts: made by tools/chart_alerts.py -->\n{table()}\n<!-- end of alerts -->", text)


def main() -> None:
    """Write it."""
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()
