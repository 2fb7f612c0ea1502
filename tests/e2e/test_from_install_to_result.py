"""helm install, Ready, a result: by every way in which a program gets to a cluster."""

from __future__ import annotations

import re

import pytest

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import drivers, jobs, pods, strangers
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
    status = jobs.run_manta_job(operator, "squares", {"entrypoint": f"python -c '{program}'"}, namespace)
    assert ("Succeeded", 0) == (status["phase"], status["exitCode"]), status
    assert drivers.RIGHT in status["logTail"]


def test_a_manta_job_that_needs_what_the_head_has_not_runs_on_a_worker(operator: Cluster, namespace: str):
    """Its driver is in a worker's pod, has its result there, and what it asked for is free again afterwards."""
    where = 'import socket, sys; print("on", socket.gethostname(), file=sys.stderr)'
    program = f"{where}\n{drivers.PROGRAM}".replace("'", '"')
    spec = {"entrypoint": f"python -c '{program}'", "entrypointResources": {"cpu": 1, "custom": {"slot": 2}}}
    for name in ("elsewhere", "elsewhere-again"):
        status = jobs.run_manta_job(operator, name, spec, namespace)
        assert ("Succeeded", 0) == (status["phase"], status["exitCode"]), status
        assert re.search(r"^on demo-workers-\d$", status["logTail"], re.MULTILINE), status
        assert drivers.RIGHT in status["logTail"]


def test_a_wrong_token_is_refused_by_the_gateways_own_word(operator: Cluster, namespace: str):
    with drivers.outside(operator, namespace) as environment:
        wrong = {**environment, "MANTA_TOKEN": "0" * 43}
        wrong.pop("MANTA_TOKEN_FILE")
        program = "import manta\ntry:\n    manta.init()\nexcept Exception as error:\n    print(type(error).__name__)"
        assert "AuthenticationError" == drivers.run(["-c", program], wrong).strip()


def test_a_pod_without_the_token_is_let_in_nowhere(operator: Cluster, namespace: str):
    """Every port of every pod, every method, every route, asked from within the cluster: health alone answers.

    Without the network policies, which would keep it from most ports before anybody asks for a token.
    """
    patch = ["patch", "mantacluster", "demo", "--type=merge", "--patch", '{"spec":{"networkPolicy":{"enabled":false}}}']
    operator.kubectl("--namespace", namespace, *patch)
    wait_until(lambda: not operator.get("networkpolicies", namespace=namespace), timeout_s=60, what="no policies")
    found = strangers.pods_of(operator, namespace)
    for name in found:
        ports = strangers.OF_HEAD if name == "demo-head" else strangers.OF_WORKER
        assert ports == strangers.ports_of(operator, namespace, name), name
    assert 3 == len(found)
    said = strangers.answers(operator, namespace, "demo", found)
    assert said == strangers.refusals("demo", found)
