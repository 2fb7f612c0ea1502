"""Pods that run a script once, as the restricted standard wants them."""

from __future__ import annotations

from typing import Any

from tests.e2e.harness.cluster import Cluster, CommandError
from tests.support.waiting import wait_until

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def script(name: str, image: str, text: str, *, node: str = "", env: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod that runs a Python script and ends."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "script",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", text],
                    "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
                    "securityContext": RESTRICTED,
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }
    if node:
        pod["spec"]["nodeName"] = node
    return pod


def run(cluster: Cluster, pod: dict[str, Any], namespace: str, *, timeout_s: float = 120.0) -> str:
    """Run one to its end; what it printed.

    Raises:
        CommandError: It failed, or did not end in time; the text has what it printed.
    """
    name = pod["metadata"]["name"]
    cluster.apply({**pod, "metadata": {**pod["metadata"], "namespace": namespace}})

    def ended() -> str:
        phase = cluster.get("pod", name, namespace=namespace)["status"]["phase"]
        return phase if phase in {"Succeeded", "Failed"} else ""

    try:
        phase = wait_until(ended, timeout_s=timeout_s, what=f"pod {name} ends")
    except AssertionError as error:
        raise CommandError(f"{error}\n{cluster.kubectl('--namespace', namespace, 'describe', 'pod', name)}") from error
    if phase == "Failed":
        raise CommandError(f"pod {name} failed:\n{cluster.logs(name, namespace=namespace)}")
    return cluster.logs(name, namespace=namespace)
