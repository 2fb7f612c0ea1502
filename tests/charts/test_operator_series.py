"""What dashboards and alerts ask of the operator is what it tells; of clusters' pods see tests/process/metrics."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from manta_operator.kube.events import Event
from manta_operator.kube.requests import Request
from manta_operator.metrics import Metrics
from tests.charts import queries
from tests.charts.rendering import ROOT

CLUSTER = {
    "metadata": {"namespace": "default", "name": "demo"},
    "status": {
        "conditions": [
            {"type": name, "status": "True"}
            for name in ("Available", "Ready", "UpToDate", "Progressing", "Degraded", "Suspended")
        ],
        "groups": [{"name": "workers", "desired": 2, "ready": 1}],
        "head": {"restarts": 1},
    },
}


def told() -> list[tuple[str, dict[str, str]]]:
    """The series of an operator to which something of everything happened, as the chart's ServiceMonitor relabels them."""
    metrics = Metrics()
    metrics.show(lambda: [CLUSTER], lambda: True)
    metrics.called(Request("get", "pods"), "200", 0.1)
    metrics.queue("cluster", lambda: 1)
    metrics.cached("pods", lambda: 1)
    metrics.reads("pods", lambda: {"lists": 1})
    metrics.unread("pods", lambda: 0.0)
    for result in results():
        metrics.reconciles.labels("cluster", result).inc()
    metrics.reconcile_seconds.labels("cluster").observe(1)
    metrics.queue_seconds.labels("cluster").observe(1)
    metrics.pod_seconds.labels("scheduled").observe(1)
    metrics.told(Event("OOMKilled", "a worker's memory was full", "Warning"))
    metrics.failures.labels("Pod", "Forbidden").inc()
    return [
        (sample.name, {"manta_cluster" if label == "cluster" else label: text for label, text in sample.labels.items()})
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    ]


def results() -> list[str]:
    """How a look at an object can end, as the operator's source says."""
    source = (ROOT / "operator/manta_operator/controllers.py").read_text()
    return re.findall(r'\bresult = (?:time\.monotonic\(\), )?"([a-z ]+)"', source)


def test_every_selector_has_a_series_with_these_labels():
    series = told()
    missing = []
    for where, expression in queries.everything():
        for selector in queries.selectors(expression):
            if not selector.metric.startswith("manta_operator_"):
                continue
            own = [one for one in selector.matchers if one[0] not in queries.TARGET_LABELS]
            if not any(name == selector.metric and _fits(labels, own) for name, labels in series):
                missing.append((where, str(selector)))
    assert missing == []


def test_every_label_that_is_summed_by_exists():
    """`sum by (contoller)` would show one line for all, and nobody would notice."""
    series: dict[str, set[str]] = {}
    for name, labels in told():
        series.setdefault(name, set()).update(labels)
    wrong = []
    for where, expression in queries.everything():
        metrics = [one.metric for one in queries.selectors(expression) if one.metric.startswith("manta_operator_")]
        for labels in re.findall(r"\bby \(([^)]*)\)", expression) if metrics else ():
            own = [label for label in labels.replace(" ", "").split(",") if label not in queries.TARGET_LABELS]
            wrong += [(where, label) for label in own if not all(label in series[metric] for metric in metrics)]
    assert wrong == []


def test_every_number_of_the_operator_is_shown_somewhere():
    """Or it is for a person who reads /metrics, and named here."""
    shown = {selector.metric for _, expression in queries.everything() for selector in queries.selectors(expression)}
    families = {re.sub(r"_(bucket|count|sum|total|created)$", "", name) for name, _ in told()}
    unseen = {name for name in families if not any(metric.startswith(name) for metric in shown)}
    assert unseen <= {"manta_operator_info"}


def _fits(labels: dict[str, str], matchers: list[tuple[str, str, str]]) -> bool:
    for label, operator, text in matchers:
        has = labels.get(label, "")
        same = re.fullmatch(text, has) is not None if "~" in operator else has == text
        if same == operator.startswith("!"):
            return False
    return True
