"""One run of each program by each way to a MantaCluster.

Its pods have the programs' files under the paths of this machine, so that a driver's working directory is its workers' too.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import charts, drivers, jobs, pods
from tests.e2e.support.files import mounted, tree
from tests.e2e.support.rest import rest
from tests.process.programs import elsewhere
from tests.process.programs.harness import HERE, Run, read, run_program
from tests.support.waiting import wait_until

ROOT = HERE.parents[2]
#: Of this checkout, what a driver in a pod and its workers need.
FILES = [
    *(ROOT / "tests" / name for name in ("__init__.py", "process/__init__.py", "process/implementation.py")),
    *(ROOT / "tests/support" / name for name in ("__init__.py", "given_cluster.py")),
    *(HERE / name for name in ("__init__.py", "harness.py", "notebook.py", "elsewhere.py")),
    *sorted(HERE.glob("p*/program.py")),
    *sorted(HERE.glob("p001_tasks_tour/data/*.txt")),
]
COMMAND = ["python", "-m", elsewhere.__name__]
WEB_PORT = 8000
#: All programs, one after the other.
PATIENCE_S = 600.0
CPUS = 10.0


def _values(image: str) -> dict[str, Any]:
    """The usual sizes, with the image that has the packages, room for ten models at once, and the files."""
    repository, _, tag = image.rpartition(":")
    memory = {"requests": {"cpu": "100m", "memory": "256Mi"}}
    files, mount = mounted(ROOT / "tests", FILES, "programs")
    container = {"name": "raylet", "volumeMounts": [mount], "env": [{"name": "PYTHONPATH", "value": str(ROOT)}]}
    template = {"spec": {"volumes": [files], "containers": [container]}}
    return {
        **charts.SMALL,
        "image": {"repository": repository, "tag": tag},
        "head": {"resources": {"limits": {"cpu": 4, "memory": "3Gi"}, **memory}, "template": template},
        "workerGroups": {
            "workers": {
                "replicas": 2,
                "resources": {"limits": {"cpu": 3, "memory": "2Gi"}, **memory},
                "template": template,
            }
        },
    }


@pytest.fixture(scope="package")
def installed(kubernetes: Cluster) -> Iterator[tuple[str, str]]:
    """An operator and a MantaCluster `demo`; its namespace and its image."""
    image = kubernetes.image_with_packages()
    with kubernetes.namespace("programs") as namespace, charts.operator(kubernetes):
        kubernetes.apply(tree("programs", namespace, ROOT / "tests", FILES))
        with charts.manta_cluster(kubernetes, namespace, values=_values(image)):
            yield namespace, image


@pytest.fixture(scope="package")
def web(kubernetes: Cluster, installed: tuple[str, str]) -> str:
    """Address of a pod that serves `web/`, which stands for the internet."""
    namespace, _ = installed
    pages = sorted((HERE / "web").iterdir())
    kubernetes.apply(tree("web", namespace, HERE, pages))
    pod = pods.script("web", kubernetes.images.runtime, "")
    volume, mount = mounted(HERE, pages, "web")
    [container] = pod["spec"]["containers"]
    container["command"] = ["python", "-m", "http.server", str(WEB_PORT), "--directory", f"{mount['mountPath']}/web"]
    container["volumeMounts"].append(mount)
    pod["spec"]["volumes"].append(volume)
    kubernetes.apply({**pod, "metadata": {"name": "web", "namespace": namespace}})
    kubernetes.wait("pod/web", "condition=Ready", namespace=namespace)
    address = kubernetes.get("pod", "web", namespace=namespace)["status"]["podIP"]
    return f"http://{f'[{address}]' if ':' in address else address}:{WEB_PORT}"


def _outside(kubernetes: Cluster, namespace: str, web: str) -> Callable[[str], Run]:
    """Drivers of this machine, through the gateway, by k8s://."""
    environment = {"KUBECONFIG": str(kubernetes.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/demo"}
    return lambda folder: run_program(folder, elsewhere.STARTER, PROGRAM_WEB=web, **environment)


def _kubernetes_job(kubernetes: Cluster, namespace: str, image: str, web: str) -> Callable[[str], Run]:
    """All of them in a pod of a plain Kubernetes Job."""
    pod = pods.script("programs", image, "", env={"PROGRAM_WEB": web, "PYTHONPATH": str(ROOT)})
    pod = drivers.inside(pod, namespace)
    volume, mount = mounted(ROOT / "tests", FILES, "programs")
    [container] = pod["spec"]["containers"]
    container["command"] = COMMAND
    container["volumeMounts"].append(mount)
    pod["spec"]["volumes"].append(volume)
    ended = elsewhere.results(jobs.run_kubernetes_job(kubernetes, pod, namespace, timeout_s=PATIENCE_S))
    return lambda folder: read(ended[folder])


def _manta_job(kubernetes: Cluster, namespace: str, web: str) -> Callable[[str], Run]:
    """All of them one after the other as the command of a MantaJob, on the head."""
    spec = {"entrypoint": " ".join(COMMAND), "runtimeEnv": {"env_vars": {"PROGRAM_WEB": web}}}
    status = jobs.run_manta_job(kubernetes, "programs", spec, namespace, timeout_s=PATIENCE_S)
    assert ("Succeeded", 0) == (status["phase"], status["exitCode"]), status
    ended = elsewhere.results(jobs.log(kubernetes, namespace, status["submissionId"]))
    return lambda folder: read(ended[folder])


@pytest.fixture(scope="package", params=["a MantaJob", "a Kubernetes Job", "outside"])
def program(
    request: pytest.FixtureRequest, kubernetes: Cluster, installed: tuple[str, str], web: str
) -> Iterator[Callable[[str], Run]]:
    """`program(folder)` is what one did that way. All run once; each fact is a test of its own."""
    namespace, image = installed
    way = {
        "a MantaJob": lambda: _manta_job(kubernetes, namespace, web),
        "a Kubernetes Job": lambda: _kubernetes_job(kubernetes, namespace, image, web),
        "outside": lambda: _outside(kubernetes, namespace, web),
    }[request.param]()

    def gone(pid: int) -> bool:
        """Processes of pods have numbers of their own: the cluster says which actors there are."""
        del pid
        address = f"k8s://{namespace}/demo"
        command = ["-m", "manta.cli", "list", "actors", "--address", address, "-o", "json"]

        def dead() -> bool:
            said = json.loads(drivers.run(command, {"KUBECONFIG": str(kubernetes.kubeconfig)}))
            return {"DEAD"} == {one["state"] for one in said if one["class_name"] == "MethodStateCounter"}

        return wait_until(dead, timeout_s=30, what="the actor is dead")

    def run(folder: str) -> Run:
        done = way(folder)
        done.pid, done.cpus, done.gone = 0, CPUS, gone
        return done

    # While drivers outside come and go, beside jobs that have ended, an operator has nothing to write.
    with rest(kubernetes, namespace) if request.param == "outside" else contextlib.nullcontext():
        yield functools.cache(run)
