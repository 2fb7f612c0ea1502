"""k8s://NAMESPACE/NAME on a real API server and real kubelets: nothing but a kubeconfig, and what it outlives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import drivers, pods

pytestmark = pytest.mark.usefixtures("demo")

ROOT = Path(__file__).resolve().parents[2]

#: Values far larger than what fits into anything on the way, there and back.
LARGE = """
import manta
manta.init()
value = bytes(range(256)) * (40 << 12)
print(manta.get(manta.remote(lambda x: x * 2).remote(value)) == value * 2, manta.get(manta.put(value)) == value)
"""

#: Says of an address what went wrong.
REFUSED = """
import manta
try:
    manta.init()
except manta.exceptions.MantaError as error:
    print(type(error).__name__, str(error).splitlines()[0])
"""


@pytest.fixture
def environment(operator: Cluster, namespace: str) -> dict[str, str]:
    """Of a driver, or of a command."""
    return {"KUBECONFIG": str(operator.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/demo"}


def test_large_values_go_both_ways(environment):
    assert "True True" == drivers.run(["-c", LARGE], environment).strip().splitlines()[-1]


def test_work_goes_on_when_the_gateways_container_is_killed(operator: Cluster, namespace: str, environment):
    """Its sessions end with it, so a driver is told; the next one gets in by the same pod, as soon as it is there again."""
    with drivers.live(environment) as driver:
        assert "9" == driver.ask("manta.get(square.remote(3))")
        operator.kubectl(
            "--namespace", namespace, "exec", "demo-head", "--container", "gateway", "--", "python", "-c",
            "import os, signal; os.kill(1, signal.SIGTERM)",
        )  # fmt: skip
        said = driver.ask("manta.get(square.remote(4))")
        assert said == "16" or "the gateway ended the session" in said or "is lost" in said, said
    assert drivers.RIGHT == drivers.run(["-c", drivers.PROGRAM], environment).strip().splitlines()[-1]


def test_jobs_lists_and_logs_from_the_command_line(environment, tmp_path: Path):
    (tmp_path / "train.py").write_text("print('trained')")
    address = environment["MANTA_ADDRESS"]
    submit = [
        "-m",
        "manta.cli",
        "job",
        "submit",
        "--address",
        address,
        "--working-dir",
        str(tmp_path),
        "--submission-id",
        "k1",
    ]
    assert "trained" in drivers.run([*submit, "--", "python", "train.py"], environment)
    listed = drivers.run(["-m", "manta.cli", "job", "list", "--address", address, "-o", "json"], environment)
    assert [("k1", "SUCCEEDED")] == [(one["submission_id"], one["status"]) for one in json.loads(listed)]
    nodes = json.loads(
        drivers.run(["-m", "manta.cli", "list", "nodes", "--address", address, "-o", "json"], environment)
    )
    assert "demo-workers-0" in {node["node_name"] for node in nodes}


def test_the_page_is_forwarded_with_a_link_to_sign_in(operator: Cluster, environment):
    command = [sys.executable, "-u", "-m", "manta.cli", "dashboard", "--port", "0", "-o", "json"]
    path = f"{ROOT / 'runtime'}:{ROOT / 'operator'}"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**operator.environment, **environment, "PYTHONPATH": path}
    ) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while lines[-1:] != ["}\n"]:
                lines.append(process.stdout.readline())
                assert lines[-1], "it ended"
            told = json.loads("".join(lines))
            asks = (
                "import ssl, sys, urllib.request as r; c = ssl._create_unverified_context();"
                "o = r.build_opener(r.HTTPSHandler(context=c), r.HTTPCookieProcessor()); print(o.open(sys.argv[1]).status)"
            )
            assert "200" == drivers.run(["-c", asks, told["sign_in"]], {}).strip()
        finally:
            process.terminate()


def test_what_is_missing_is_said(operator: Cluster, namespace: str, environment):
    absent = drivers.run(["-c", REFUSED], {**environment, "MANTA_ADDRESS": f"k8s://{namespace}/other"})
    assert absent.startswith("ClusterAbsentError")
    assert "there are demo" in absent
    config = operator.kubectl("config", "view", "--raw", "--output", "json")
    acting = json.loads(config)
    acting["users"][0]["user"]["as"] = "jane"
    path = operator.folder / "jane.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(acting))
    forbidden = drivers.run(["-c", REFUSED], {**environment, "KUBECONFIG": str(path)})
    assert forbidden.startswith("KubernetesForbiddenError")
    assert f"auth can-i get mantaclusters.manta.compute/demo -n {namespace}" in forbidden


def test_the_documented_role_is_enough(operator: Cluster, namespace: str, environment):
    """For a user who has no other, on this version of Kubernetes."""
    operator.kubectl("--namespace", namespace, "apply", "--filename", ROOT / "examples/kubernetes/driver_role.yaml")
    operator.kubectl("--namespace", namespace, "create", "rolebinding", "drivers", "--role=manta-driver", "--user=john")
    acting = json.loads(operator.kubectl("config", "view", "--raw", "--output", "json"))
    acting["users"][0]["user"]["as"] = "john"
    path = operator.folder / "john.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(acting))
    assert (
        drivers.RIGHT
        == drivers.run(["-c", drivers.PROGRAM], {**environment, "KUBECONFIG": str(path)}).strip().splitlines()[-1]
    )


def test_a_pod_with_a_service_account_may_use_it_too(operator: Cluster, namespace: str):
    """Without a kubeconfig, without the Secret: the pod's own identity, and the documented Role."""
    operator.kubectl("--namespace", namespace, "apply", "--filename", ROOT / "examples/kubernetes/driver_role.yaml")
    operator.kubectl("--namespace", namespace, "create", "serviceaccount", "driver")
    operator.kubectl(
        "--namespace", namespace, "create", "rolebinding", "pods", "--role=manta-driver", f"--serviceaccount={namespace}:driver"
    )  # fmt: skip
    pod = pods.script("by-account", operator.images.runtime, drivers.PROGRAM, env={"MANTA_ADDRESS": "k8s://demo"})
    pod["spec"] |= {"serviceAccountName": "driver", "automountServiceAccountToken": True}
    pod["spec"]["securityContext"].update(runAsUser=65532, runAsGroup=65532, fsGroup=65532)
    assert drivers.RIGHT == pods.run(operator, pod, namespace).strip().splitlines()[-1]
