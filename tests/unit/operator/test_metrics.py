"""The operator's numbers: of clusters that there are, and of nothing that is gone."""

from __future__ import annotations

from manta_operator.kube.events import Event
from manta_operator.kube.requests import Request
from manta_operator.metrics import Metrics

CLUSTER = {
    "metadata": {"namespace": "n", "name": "demo"},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Degraded", "status": "Unknown"}],
        "groups": [{"name": "w", "desired": 3, "ready": 2}],
        "head": {"restarts": 4},
    },
}


def lines(metrics, start):
    return [line for line in metrics.text().decode().splitlines() if line.startswith(start)]


def test_a_clusters_numbers_come_and_go_with_it():
    """They are made of its status each time: nothing has to be taken away."""
    metrics, clusters = Metrics(), [CLUSTER]
    metrics.show(lambda: clusters, lambda: True)
    assert lines(metrics, "manta_operator_cluster_condition{") == [
        'manta_operator_cluster_condition{cluster="demo",condition="Ready",namespace="n"} 1.0',
        'manta_operator_cluster_condition{cluster="demo",condition="Degraded",namespace="n"} 0.0',
    ]
    workers = lines(metrics, "manta_operator_cluster_workers{")
    assert 'manta_operator_cluster_workers{cluster="demo",group="w",namespace="n",state="ready"} 2.0' in workers
    assert len(workers) == 5
    assert lines(metrics, "manta_operator_cluster_head_restarts{")[0].endswith(" 4.0")
    clusters.clear()
    assert lines(metrics, "manta_operator_cluster_") == []
    assert lines(metrics, "manta_operator_clusters ") == ["manta_operator_clusters 0.0"]


def test_a_cluster_without_a_status_has_none_of_these():
    """It was made just now."""
    metrics = Metrics()
    metrics.show(lambda: [{"metadata": {"namespace": "n", "name": "new"}}], lambda: False)
    assert lines(metrics, "manta_operator_cluster_condition{") == []
    assert lines(metrics, "manta_operator_leader ") == ["manta_operator_leader 0.0"]


def test_requests_and_events_are_counted():
    """By few words each."""
    metrics = Metrics()
    metrics.called(Request("create", "pods"), "201", 0.1)
    metrics.called(Request("create", "pods"), "201", 0.1)
    metrics.told(Event("Scaled", "up", "Warning"))
    assert lines(metrics, "manta_operator_api_calls_total") == [
        'manta_operator_api_calls_total{code="201",resource="pods",verb="create"} 2.0'
    ]
    assert lines(metrics, "manta_operator_events_total") == [
        'manta_operator_events_total{reason="Scaled",type="Warning"} 1.0'
    ]
