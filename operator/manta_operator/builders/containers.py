"""The containers of the head's pod and of a worker's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manta_operator.api.pods import Resources
from manta_operator.api.render import render
from manta_operator.builders import labels, volumes

#: Those of the head, beside the raylet's, with what each sets aside and what it may use at most. `resources` of the spec are the
#: raylet's, where user code runs; these grow with what others ask of them, and a template may say other numbers.
DOORS: Mapping[str, dict[str, dict[str, str]]] = {
    # Its memory is the cluster's: some KB for each node, actor, job and key. Throttled it would look like a dead cluster.
    "control": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
    # A process for each driver, which owns the driver's objects: about 40 MB each, and small values beside them.
    "gateway": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
    # One process that reads, and copies uploads to the disk.
    "dashboard": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
}

#: The port of each container where its health and its metrics are, and the others that it listens at.
_METRICS = {
    "control": "metrics-control",
    "gateway": "metrics-gateway",
    "dashboard": "metrics-dashb",
    "raylet": "metrics",
}
_OTHERS = {"control": "control", "gateway": "gateway", "dashboard": "dashboard", "raylet": "channel"}

#: How long a container has to end that does not answer any more.
_DEAF_S = 10
#: How long it has until it must be alive: the image is there by then, what takes its time is Python's first start.
_START_S = 180

_SECURITY: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def container(role: str, image: str, env: list[dict[str, Any]], resources: Mapping[str, Any]) -> dict[str, Any]:
    """One of ours.

    Args:
        role: Its name, and what it runs.
        image: Of it.
        env: All of it.
        resources: As in a pod's spec.
    """
    return {
        "name": role,
        "image": image,
        # Not from the working directory: that is /tmp, where a user's `json.py` would be taken for the library's.
        "command": ["python", "-P", "-m", "manta.pod", role],
        # Why it ended is said there; where it could not be, the last lines of the output are.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": [*env, *volumes.told(role)],
        "ports": [_port(_OTHERS[role]), _port(_METRICS[role])],
        "resources": dict(resources),
        "volumeMounts": volumes.mounts(role),
        "securityContext": {**_SECURITY, "capabilities": {"drop": ["ALL"]}},
        **_probes(_METRICS[role]),
    }


def raylets(resources: Resources) -> dict[str, Any]:
    """The resources of a raylet's container: word for word what the user said."""
    said: dict[str, Any] = render(resources)
    return said


def _port(name: str) -> dict[str, Any]:
    return {"name": name, "containerPort": labels.PORTS[name], "protocol": "TCP"}


def _probes(port: str) -> dict[str, Any]:
    # No startup probe: until one has passed a kubelet asks for nothing else, and only at its own ticks of a second. Without one
    # it asks whether the container is ready as soon as it knows that it runs, and the question waits until the server can answer.
    return {
        # Alive means that its event loop turns. Whoever is merely busy is forgiven for a minute at least, a first start from a
        # cold disk for three. Then it is killed soon: it does not hear that it should end, and control's first process would
        # wait for its neighbours.
        "livenessProbe": {
            **_probe("/healthz", port, period_s=10, timeout_s=5, failures=6),
            "initialDelaySeconds": _START_S - 60,
            "terminationGracePeriodSeconds": _DEAF_S,
        },
        # Often: how soon a worker takes work, and how soon drivers are no longer sent to a door that is shut.
        "readinessProbe": _probe("/readyz", port, period_s=1, timeout_s=3, failures=3),
    }


def _probe(path: str, port: str, *, period_s: int, timeout_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period_s,
        "timeoutSeconds": timeout_s,
        "successThreshold": 1,
        "failureThreshold": failures,
    }
