"""helm install, Ready, a result: by every way in which a program gets to a cluster."""

from __future__ import annotations

import pytest

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import drivers, pods
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("demo")


def test_the_table_of_clusters_shows_it_ready(operator: Cluster, namespace: str):
    """What `kubectl get mantaclusters` prints: READY, and workers as 2/2."""
    [_, row] = operator.kubectl("--namespace", namespace, "get", "mantaclusters").splitlines()
    assert ["demo", "True", "2/2"] == row.split()[:3]


def test_a_driver_outside_comes_through_the_gateway(operator: Cluster, namespace: str):
    """A forwarded port, the submitter's token, the cluster's authority."""
    with drivers.outside(operator, namespace) as environment:
        assert drivers.RIGHT == drivers.run(["-c", drivers.PROGRAM], environment).strip().splitlines()[-1]


def test_a_driver_outside_finds_the_cluster_by_the_kubeconfig_alone(operator: Cluster, namespace: str):
    """k8s://NAMESPACE/NAME: no port, no token, no file."""
    environment = {"KUBECONFIG": str(operator.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/demo"}
    assert drivers.RIGHT == drivers.run(["-c", drivers.PROGRAM], environment).strip().splitlines()[-1]


def test_a_driver_in_a_pod_is_configured_by_its_environment(operator: Cluster, namespace: str):
    """A plain Kubernetes Job's pod: `manta.init()` without a word."""
    pod = drivers.inside(pods.script("driver", operator.images.runtime, drivers.PROGRAM), namespace)
    assert drivers.RIGHT == pods.run(operator, pod, namespace).strip().splitlines()[-1]


def test_a_manta_job_runs_to_its_end_and_says_its_result(operator: Cluster, namespace: str):
    """Its status has the phase, the exit code and the end of the log."""
    program = drivers.PROGRAM.replace("'", '"')
    job = {
        "apiVersion": "manta.compute/v1alpha1",
        "kind": "MantaJob",
        "metadata": {"name": "squares", "namespace": namespace},
        "spec": {"clusterRef": {"name": "demo"}, "entrypoint": f"python -c '{program}'"},
    }
    operator.apply(job)

    def ended() -> dict:
        status = operator.get("mantajob", "squares", namespace=namespace).get("status", {})
        return status if status.get("phase") in {"Succeeded", "Failed"} else {}

    status = wait_until(ended, timeout_s=120, what="the job ends")
    assert ("Succeeded", 0) == (status["phase"], status["exitCode"]), status
    assert drivers.RIGHT in status["logTail"]


def test_a_pod_without_the_token_is_let_in_nowhere(operator: Cluster, namespace: str):
    """The gateway refuses a wrong token by its own word."""
    with drivers.outside(operator, namespace) as environment:
        wrong = {**environment, "MANTA_TOKEN": "0" * 43}
        wrong.pop("MANTA_TOKEN_FILE")
        program = "import manta\ntry:\n    manta.init()\nexcept Exception as error:\n    print(type(error).__name__)"
        assert "AuthenticationError" == drivers.run(["-c", program], wrong).strip()
