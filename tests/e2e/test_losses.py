"""Pods, containers and nodes are lost: work goes on or comes back, and the status says what happened."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import drivers
from tests.e2e.support.drivers import LiveDriver
from tests.e2e.support.rest import rest
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("demo")

SQUARES = str([x * x for x in range(20)])


@pytest.fixture
def driver(operator: Cluster, namespace: str, whole: None) -> Iterator[LiveDriver]:
    """A driver outside."""
    environment = {"KUBECONFIG": str(operator.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/demo"}
    with drivers.live(environment) as running:
        yield running


@pytest.fixture
def whole(operator: Cluster, namespace: str) -> Iterator[None]:
    """The cluster is Ready when a test begins, and gets so again when it ends."""
    operator.wait("mantacluster/demo", "condition=Ready", namespace=namespace)
    yield
    for node in operator.get("nodes"):
        if node["spec"].get("unschedulable"):
            operator.kubectl("uncordon", node["metadata"]["name"])
    wait_until(lambda: full(operator, namespace), timeout_s=240, what="two of two workers are ready again")
    operator.wait("mantacluster/demo", "condition=Ready", namespace=namespace, timeout_s=240)


def status(kubernetes: Cluster, namespace: str) -> dict[str, Any]:
    said: dict[str, Any] = kubernetes.get("mantacluster", "demo", namespace=namespace).get("status", {})
    return said


def full(kubernetes: Cluster, namespace: str) -> bool:
    return status(kubernetes, namespace).get("workers") == "2/2"


def pods_of(kubernetes: Cluster, namespace: str) -> dict[str, dict[str, Any]]:
    selector = "manta.compute/cluster=demo"
    found = kubernetes.get("pods", "--selector", selector, namespace=namespace)
    return {pod["metadata"]["name"]: pod for pod in found}


def uids(kubernetes: Cluster, namespace: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods_of(kubernetes, namespace).values()}


def replaced(kubernetes: Cluster, namespace: str, uid: str) -> bool:
    """Whether that pod is no replica any more and two others are ready."""
    pods = pods_of(kubernetes, namespace).values()
    ready = [
        pod["metadata"]["uid"]
        for pod in pods
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"
        and "deletionTimestamp" not in pod["metadata"]
        and any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
    ]
    return uid not in ready and len(ready) == 2


def kill_in(kubernetes: Cluster, pod: dict[str, Any], role: str) -> None:
    """Kill the first process of a container: nothing in it hears of it before."""
    kubernetes.on_node(pod["spec"]["nodeName"], "pkill", "-KILL", "--full", f"manta.pod {role}")


def test_a_deleted_worker_pod_drains_and_is_replaced(operator: Cluster, namespace: str, driver: LiveDriver):
    """`kubectl delete pod`: what runs there ends, nothing is lost, another pod takes its place."""
    driver.ask("len(pending := [square.remote(x, 0.5) for x in range(20)])")
    uid = pods_of(operator, namespace)["demo-workers-0"]["metadata"]["uid"]
    operator.kubectl("--namespace", namespace, "delete", "pod", "demo-workers-0", "--wait=false")
    assert SQUARES == driver.ask("manta.get(pending)")
    wait_until(lambda: replaced(operator, namespace, uid), timeout_s=120, what="another worker is ready")


def test_a_worker_pod_that_is_gone_at_once_loses_no_accepted_work(
    operator: Cluster, namespace: str, driver: LiveDriver
):
    """`--force --grace-period=0`: its tasks run again elsewhere."""
    driver.ask("len(pending := [square.remote(x, 0.5) for x in range(20)])")
    [name, pod] = next((n, p) for n, p in pods_of(operator, namespace).items() if n.startswith("demo-workers"))
    operator.kubectl("--namespace", namespace, "delete", "pod", name, "--force", "--grace-period=0", "--wait=false")
    assert SQUARES == driver.ask("manta.get(pending)")
    wait_until(lambda: replaced(operator, namespace, pod["metadata"]["uid"]), timeout_s=120, what="another is ready")


def test_a_killed_control_comes_back_and_work_goes_on(operator: Cluster, namespace: str, driver: LiveDriver):
    """Its state is on a volume: a named actor is found again, and the driver never notices."""
    driver.ask("(counter := Counter.options(name='kept', lifetime='detached').remote()) and 1")
    assert driver.ask("manta.get(counter.add.remote(1))") == "1"
    before = uids(operator, namespace)
    kill_in(operator, pods_of(operator, namespace)["demo-head"], "control")
    assert SQUARES == driver.ask("manta.get([square.remote(x) for x in range(20)])")
    assert driver.ask("manta.get(manta.get_actor('kept').add.remote(1))") == "2"
    wait_until(lambda: status(operator, namespace)["head"]["restarts"] >= 1, timeout_s=60, what="the restart is told")
    assert before == uids(operator, namespace), "a restart of control replaces no pod"
    driver.ask("manta.kill(counter)")


@pytest.mark.parametrize("role", ["gateway", "dashboard", "raylet"])
def test_another_killed_container_of_the_head_is_started_again(
    operator: Cluster, namespace: str, whole: None, role: str
):
    """The pod stays, the cluster gets Ready, and a new driver gets its result."""
    before = uids(operator, namespace)

    def restarts() -> int:
        statuses = pods_of(operator, namespace)["demo-head"]["status"]["containerStatuses"]
        return next(int(one["restartCount"]) for one in statuses if one["name"] == role)

    count = restarts()
    head = pods_of(operator, namespace)["demo-head"]
    kill_in(operator, head, role)
    wait_until(lambda: restarts() > count, timeout_s=60, what=f"{role} is started again")
    operator.wait("mantacluster/demo", "condition=Ready", namespace=namespace)
    environment = {"KUBECONFIG": str(operator.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/demo"}
    assert drivers.RIGHT == drivers.run(["-c", drivers.PROGRAM], environment).strip().splitlines()[-1]
    assert before == uids(operator, namespace)


def test_a_deleted_head_pod_comes_back_with_what_it_knew(operator: Cluster, namespace: str, driver: LiveDriver):
    """Its volume is found again: the detached actor on a worker lives on, and a new driver finds it."""
    on_worker = "label_selector={'manta.compute/group': 'workers'}"
    driver.ask(f"(counter := Counter.options(name='outlives', lifetime='detached', {on_worker}).remote()) and 1")
    assert driver.ask("manta.get(counter.add.remote(5))") == "5"
    uid = pods_of(operator, namespace)["demo-head"]["metadata"]["uid"]
    operator.kubectl("--namespace", namespace, "delete", "pod", "demo-head", "--wait=false")

    def back() -> bool:
        head = pods_of(operator, namespace).get("demo-head")
        return head is not None and head["metadata"]["uid"] != uid

    wait_until(back, timeout_s=120, what="there is another head")
    operator.wait("mantacluster/demo", "condition=Ready", namespace=namespace, timeout_s=180)
    environment = {"KUBECONFIG": str(operator.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/demo"}
    with drivers.live(environment) as another:
        assert another.ask("manta.get(manta.get_actor('outlives').add.remote(1))") == "6"
        assert SQUARES == another.ask("manta.get([square.remote(x) for x in range(20)])")
        another.ask("manta.kill(manta.get_actor('outlives'))")


def test_user_code_that_takes_all_memory_costs_a_worker_and_the_status_says_so(
    operator: Cluster, namespace: str, driver: LiveDriver
):
    """OOMKilled, whether the kernel took one process of the container or all of it; the head is untouched."""
    before = status(operator, namespace)["head"]["restarts"]
    on_worker = "label_selector={'manta.compute/group': 'workers'}"
    said = driver.ask(f"manta.get(hog.options(max_retries=0, {on_worker}).remote(2 << 30))")
    assert "Memory" in said or "Died" in said or "Crashed" in said, said
    wait_until(lambda: "OOMKilled" in str(status(operator, namespace)), timeout_s=60, what="the status says OOMKilled")
    assert before == status(operator, namespace)["head"]["restarts"]
    assert SQUARES == driver.ask("manta.get([square.remote(x) for x in range(20)])")


def other_node(kubernetes: Cluster, namespace: str) -> str:
    """The node on which the head is not, with a worker on it: one is moved there if need be."""
    head = pods_of(kubernetes, namespace)["demo-head"]["spec"]["nodeName"]
    node = next(node for node in kubernetes.nodes() if node != head)

    def there() -> bool:
        pods = pods_of(kubernetes, namespace).values()
        return any(pod["spec"].get("nodeName") == node for pod in pods) and full(kubernetes, namespace)

    if not there():
        [name, *_] = (name for name in pods_of(kubernetes, namespace) if name.startswith("demo-workers"))
        kubernetes.kubectl("cordon", head)
        kubernetes.kubectl("--namespace", namespace, "delete", "pod", name, "--wait=false")
        wait_until(there, timeout_s=120, what=f"a worker is on {node}")
        kubernetes.kubectl("uncordon", head)
    return node


def test_draining_a_node_ends(operator: Cluster, namespace: str, driver: LiveDriver):
    """`kubectl drain` evicts the workers there, which move; nothing is lost."""
    node = other_node(operator, namespace)
    driver.ask("len(pending := [square.remote(x, 0.5) for x in range(20)])")
    drain = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"]
    operator.kubectl(*drain, timeout_s=150)
    assert SQUARES == driver.ask("manta.get(pending)")
    wait_until(lambda: full(operator, namespace), timeout_s=120, what="two workers on what nodes there are")


def not_ready(kubernetes: Cluster, node: str) -> bool:
    conditions = kubernetes.get("node", node)["status"]["conditions"]
    return any(one["type"] == "Ready" and one["status"] != "True" for one in conditions)


def test_a_dead_node_is_missed_and_its_workers_are_replaced(operator: Cluster, namespace: str, driver: LiveDriver):
    """Its machine is off: accepted work runs again elsewhere, another worker comes, and the node may come back."""
    node = other_node(operator, namespace)
    there = [p["metadata"]["uid"] for p in pods_of(operator, namespace).values() if p["spec"]["nodeName"] == node]
    assert there
    driver.ask("len(pending := [square.remote(x, 0.5) for x in range(20)])")
    assert operator.engine is not None
    operator.engine.docker("kill", node)
    try:
        assert SQUARES == driver.ask("manta.get(pending)", timeout_s=180)
        wait_until(lambda: not_ready(operator, node), timeout_s=120, what="Kubernetes misses the node")
        for uid in there:
            wait_until(partial(replaced, operator, namespace, uid), timeout_s=120, what="a replacement")
    finally:
        operator.engine.docker("start", node)
        wait_until(lambda: not not_ready(operator, node), timeout_s=120, what="the node is back")


def test_a_zombie_node_is_fenced(operator: Cluster, namespace: str, driver: LiveDriver):
    """Its kubelet is gone and its pods live on: they are replaced, and are no part of the cluster any more."""
    node = other_node(operator, namespace)
    there = {n for n, p in pods_of(operator, namespace).items() if p["spec"]["nodeName"] == node}
    uid = {p["metadata"]["uid"] for n, p in pods_of(operator, namespace).items() if n in there}
    operator.on_node(node, "systemctl", "stop", "kubelet")
    try:
        for one in uid:
            wait_until(partial(replaced, operator, namespace, one), timeout_s=180, what="a replacement")
        wait_until(lambda: not there & set(eval(driver.ask("alive()"))), timeout_s=60, what="the old ones are fenced")
        assert SQUARES == driver.ask("manta.get([square.remote(x) for x in range(20)])")
    finally:
        operator.on_node(node, "systemctl", "start", "kubelet")
        wait_until(lambda: not not_ready(operator, node), timeout_s=120, what="the node is back")


def test_after_all_that_the_operator_rests(operator: Cluster, namespace: str, whole: None):
    """For a minute nothing is written: what has been replaced, fenced and moved is settled."""
    with rest(operator, namespace):
        assert full(operator, namespace)
