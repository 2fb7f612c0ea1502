"""A real Prometheus scrapes operator and pods, and what it knows rises and falls with a real load."""

from __future__ import annotations

import base64
import contextlib
import shutil
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.charts import queries
from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import charts, drivers
from tests.support.prometheus import Prometheus, Target, prometheus
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: apt install prometheus")

#: By the port of its numbers.
CONTAINERS = {8090: "raylet", 8091: "control", 8092: "gateway", 8093: "dashboard"}
RAYLET_PORT = 8090
#: As the chart's ServiceMonitor has it.
OPERATORS: Mapping[str, Any] = {
    "honor_labels": True,
    "metric_relabel_configs": [
        {"source_labels": ["cluster"], "regex": "(.+)", "target_label": "manta_cluster"},
        {"regex": "cluster", "action": "labeldrop"},
    ],
}
#: Panels about what went wrong: without any trouble there is nothing to show.
ONLY_IN_TROUBLE = {"operator: Writes that failed"}
MB = 1 << 20


@pytest.fixture(scope="module")
def watched(
    operator: Cluster, namespace: str, demo: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """One that scrapes everything, through forwarded ports."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    token = folder / "token"
    secret = operator.get("secret", f"{demo}-viewer", namespace=namespace)["data"]["token"]
    token.write_bytes(base64.b64decode(secret))
    pods = operator.get("pods", "--selector", f"manta.compute/cluster={demo}", namespace=namespace)
    with contextlib.ExitStack() as stack:
        targets = []
        for pod in pods:
            name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
            head = labels["app.kubernetes.io/component"] == "head"
            for port in CONTAINERS if head else [RAYLET_PORT]:
                local = stack.enter_context(operator.forwarded(f"pod/{name}", port, namespace=namespace))
                about = {
                    "namespace": namespace,
                    "pod": name,
                    "container": CONTAINERS[port],
                    "manta_cluster": demo,
                    "manta_group": labels["manta.compute/group"],
                }
                targets.append(Target(f"127.0.0.1:{local}", "manta", token, about))
        local = stack.enter_context(operator.forwarded("deployment/manta-operator", 8080, namespace=charts.SYSTEM))
        about = {"namespace": charts.SYSTEM, "pod": "manta-operator"}
        targets.append(Target(f"127.0.0.1:{local}", "manta-operator", None, about, OPERATORS))
        running = stack.enter_context(prometheus(folder, targets))
        wait_until(lambda: running.up() == len(targets), timeout_s=60, what=f"all {len(targets)} targets are up")
        yield running


def test_every_pod_and_the_operator_answer(watched: Prometheus):
    """Four doors of the head, one of each worker, the operator's."""
    # A look may take more than its second now and then.
    assert wait_until(lambda: watched.up() == 4 + 2 + 1, what="all of them to answer")


def test_used_cpus_and_objects_rise_and_fall_with_a_load(operator: Cluster, namespace: str, watched: Prometheus):
    """Six of ten CPUs at work and 64 MB kept are seen where they are, and gone when they are gone."""

    def used() -> float:
        return sum(watched.values('manta_resources{resource="CPU",state="used"}'))

    def stored() -> float:
        return sum(watched.values('manta_object_store_bytes{state="sealed"}'))

    environment = {"KUBECONFIG": str(operator.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/demo"}
    before = stored()
    with drivers.live(environment) as driver:
        driver.ask("len(pending := [square.remote(x, 30) for x in range(6)])")
        wait_until(lambda: used() == 6, timeout_s=30, what="six CPUs are used")
        driver.ask(f"len(kept := [hog.remote({64 * MB})])")
        driver.ask(f"bool(ref := manta.put(bytes({64 * MB})))")
        wait_until(lambda: stored() >= before + 60 * MB, timeout_s=30, what="64 MB are stored")
    wait_until(lambda: used() == 0, timeout_s=60, what="none is used")
    wait_until(lambda: stored() <= before + MB, timeout_s=60, what="nothing is stored")


def test_every_panel_of_both_dashboards_has_data(operator: Cluster, namespace: str, watched: Prometheus):
    """As Grafana asks them, with a driver that has something of everything done; alerts' series are there too."""
    environment = {"KUBECONFIG": str(operator.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/demo"}
    panels = [
        (where, queries.chosen(expression, namespace))
        for where, expression in queries.panels()
        if where not in ONLY_IN_TROUBLE
    ]
    alerts = [
        (name, str(selector)) for name, expression in queries.alerts() for selector in queries.selectors(expression)
    ]

    secret = operator.get("secret", "demo-viewer", namespace=namespace)["data"]
    token, authority = (base64.b64decode(secret[key]).decode() for key in ("token", "ca.crt"))

    def look_at_the_page() -> None:
        request = urllib.request.Request(
            f"https://127.0.0.1:{page}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(
            request, timeout=10, context=ssl.create_default_context(cadata=authority)
        ) as answer:
            assert answer.status == 200

    def missing() -> list[str]:
        look_at_the_page()
        driver.ask("len(manta.get([square.remote(x) for x in range(6)] + [counter.add.remote(1)]))")
        # They are in the head's store, and read on all nodes: while they take longer than a lease of another node does.
        spread = "length.options(scheduling_strategy='SPREAD').remote(manta.put(bytes(1 << 20)), 0.5)"
        assert driver.ask(f"sum(manta.get([{spread} for _ in range(6)]))") == str(6 << 20)
        return [where for where, expression in [*panels, *alerts] if not watched.series(expression)]

    with (
        operator.forwarded("pod/demo-head", 8265, namespace=namespace) as page,
        drivers.live(environment) as driver,
    ):
        driver.ask("bool(counter := Counter.remote())")
        driver.ask("bool(kept := manta.put(bytes(1 << 20)))")
        wait_until(lambda: not missing(), timeout_s=90, what=f"there are data for {missing()}")

        def moved() -> bool:
            return sum(watched.values("manta_transfer_seconds_count")) > 0

        wait_until(moved, timeout_s=30, what="Prometheus knows of the values that came from the head's store")
