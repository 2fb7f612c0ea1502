"""Jobs of both kinds, run to their end: Kubernetes' own with a driver in their pod, and MantaJobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.e2e.harness.cluster import Cluster, CommandError
from tests.e2e.support import drivers
from tests.support.waiting import wait_until


def run_kubernetes_job(kubernetes: Cluster, pod: Mapping[str, Any], namespace: str, *, timeout_s: float = 120.0) -> str:
    """A plain Job around a pod; what that printed.

    Raises:
        CommandError: It failed, or did not end in time; the text has what it printed.
    """
    name = pod["metadata"]["name"]
    kubernetes.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"backoffLimit": 0, "template": {"spec": pod["spec"]}},
        }
    )

    def ended() -> str:
        conditions = kubernetes.get("job", name, namespace=namespace)["status"].get("conditions", ())
        return next((one["type"] for one in conditions if one["type"] in {"Complete", "Failed"}), "")

    what = f"job/{name}"
    try:
        how = wait_until(ended, timeout_s=timeout_s, what=f"{what} ends")
    except AssertionError as error:
        said = kubernetes.kubectl("--namespace", namespace, "describe", "pods", "--selector", f"job-name={name}")
        raise CommandError(f"{error}\n{said}\n{kubernetes.logs(what, namespace=namespace)}") from error
    printed = kubernetes.logs(what, namespace=namespace)
    if how == "Failed":
        raise CommandError(f"{what} failed:\n{printed}")
    return printed


def run_manta_job(
    kubernetes: Cluster,
    name: str,
    spec: Mapping[str, Any],
    namespace: str,
    *,
    cluster: str = "demo",
    timeout_s: float = 120.0,
) -> dict[str, Any]:
    """A MantaJob; its status at the end."""
    kubernetes.apply(
        {
            "apiVersion": "manta.compute/v1alpha1",
            "kind": "MantaJob",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterRef": {"name": cluster}, **spec},
        }
    )

    def ended() -> dict[str, Any]:
        status: dict[str, Any] = kubernetes.get("mantajob", name, namespace=namespace).get("status", {})
        return status if status.get("phase") in {"Succeeded", "Failed"} else {}

    return wait_until(ended, timeout_s=timeout_s, what=f"mantajob/{name} ends")


def log(kubernetes: Cluster, namespace: str, submission: str, cluster: str = "demo") -> str:
    """All that a MantaJob's driver printed, from the head."""
    command = ["-m", "manta.cli", "job", "logs", submission, "--address", f"k8s://{namespace}/{cluster}"]
    return drivers.run(command, {"KUBECONFIG": str(kubernetes.kubeconfig)})
