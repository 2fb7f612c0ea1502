"""Dashboards and alerts are well-formed: what Prometheus makes of them in a real cluster is in tests/process/metrics."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import yaml

from tests.charts import queries
from tools import dashboards

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here: apt install prometheus")


def test_the_files_are_up_to_date():
    """`python -m tools.dashboards` writes them anew."""
    assert {path: path.read_text() for path in queries.DASHBOARDS.glob("*.json")} == dashboards.files()


def test_panels_do_not_overlap_and_have_numbers_of_their_own():
    for path in queries.DASHBOARDS.glob("*.json"):
        dashboard = json.loads(path.read_text())
        taken = set()
        for panel in dashboard["panels"]:
            grid = panel["gridPos"]
            cells = {
                (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not cells & taken, panel["title"]
            assert grid["x"] + grid["w"] <= 24
            taken |= cells
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)


def test_every_query_chooses_by_the_variables_at_the_top():
    """A panel that shows another cluster's numbers would be worse than none."""
    loose = [
        (where, str(selector))
        for where, expression in queries.panels()
        for selector in queries.selectors(expression)
        if where.startswith("cluster:")
        and not {("namespace", "=", "$namespace"), ("manta_cluster", "=", "$cluster")} <= set(selector.matchers)
    ]
    assert loose == []


@needs_promtool
def test_every_expression_is_one(tmp_path):
    """promtool reads them as it reads rules."""
    rules = [{"record": f"q:{at}", "expr": expression} for at, (_, expression) in enumerate(queries.everything())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


@needs_promtool
def test_the_alerts_file_is_one_of_rules():
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", queries.ALERTS],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_say_what_happened_how_bad_it_is_and_what_to_do():
    for group in yaml.safe_load(queries.ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["alert"].startswith("Manta")
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
            assert rule["annotations"]["summary"].endswith(".")
            assert rule["annotations"]["description"].endswith(".")


SUITES = sorted((queries.ALERTS.parents[2] / "tests/charts/alerts").glob("*.yaml"))


@needs_promtool
@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.stem)
def test_alerts_fire_and_clear(suite):
    done = subprocess.run(
        ["promtool", "test", "rules", suite.name], cwd=suite.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_for_each_alert_there_is_a_time_when_it_fires_and_a_later_one_when_it_does_not():
    seen: dict[str, list[bool]] = {}
    for suite in SUITES:
        for test in yaml.safe_load(suite.read_text())["tests"]:
            for asked in test["alert_rule_test"]:
                seen.setdefault(asked["alertname"], []).append(bool(asked.get("exp_alerts")))
    assert set(seen) == {name for name, _ in queries.alerts()}
    for name, fired in seen.items():
        assert True in fired, f"{name} is never shown to fire"
        assert False in fired[fired.index(True) :], f"{name} is never shown to clear"
