"""The objects of a cluster on Kubernetes, as far as a driver has to know them: which facts mean what. Pure.

Their shapes are the operator's and Kubernetes' own; what a field of another shape says is nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_API: Final = "/apis/manta.compute/v1alpha1"
#: Labels of a head's pod.
_CLUSTER_LABEL, _COMPONENT_LABEL = "manta.compute/cluster", "app.kubernetes.io/component"

GATEWAY_PORT: Final = 7620
DASHBOARD_PORT: Final = 8265


def clusters_path(namespace: str, name: str = "") -> str:
    """Of a MantaCluster, or of all of a namespace."""
    return f"{_API}/namespaces/{namespace}/mantaclusters" + (f"/{name}" if name else "")


def secret_path(namespace: str, name: str) -> str:
    """Of a Secret."""
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


def pods_path(namespace: str) -> str:
    """Of the pods of a namespace."""
    return f"/api/v1/namespaces/{namespace}/pods"


def forward_path(namespace: str, pod: str, port: int) -> str:
    """Of the WebSocket through which a port of a pod is reached."""
    return f"{pods_path(namespace)}/{pod}/portforward?ports={port}"


def head_selector(name: str) -> dict[str, str]:
    """The query for the head's pod, or pods: one that ends may still be there beside the next one."""
    return {"labelSelector": f"{_CLUSTER_LABEL}={name},{_COMPONENT_LABEL}=head"}


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a cluster takes drivers.

    Attributes:
        open: It does.
        final: It does not, and waiting changes nothing.
        text: Why not, for people.
    """

    open: bool
    final: bool = False
    text: str = ""


def standing(cluster: Mapping[str, Any]) -> Standing:
    """What a MantaCluster says of itself."""
    metadata, spec, status = (_fields(cluster, name) for name in ("metadata", "spec", "status"))
    if metadata.get("deletionTimestamp"):
        return Standing(open=False, final=True, text="it is being deleted")
    if spec.get("suspend") is True:
        return Standing(
            open=False, final=True, text="it is suspended: its spec.suspend has to become false before it takes drivers"
        )
    listed = status.get("conditions")
    conditions = {str(one.get("type")): one for one in _objects(listed)}
    if not conditions:
        return Standing(open=False, text="nothing has been said of it yet: is the operator, manta-operator, running?")
    if any(_fields(conditions, kind).get("status") == "True" for kind in ("Available", "Ready")):
        return Standing(open=True)
    return Standing(open=False, text=_why(conditions, status))


def _why(conditions: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """What of all conditions explains most: that something is wrong, else that nothing is there yet."""
    for kind, wanted in (("Degraded", "True"), ("Available", "False"), ("Ready", "False"), ("Progressing", "True")):
        condition = _fields(conditions, kind)
        if condition.get("status") == wanted:
            reason, message = str(condition.get("reason") or kind), str(condition.get("message") or "")
            text = f"{reason}: {message}" if message else reason
            break
    else:
        text = "its status does not say why"
    failed = _fields(status, "head").get("lastFailure")
    return f"{text} (its head ended before: {failed})" if failed and str(failed) not in text else text


def uid(cluster: Mapping[str, Any]) -> str:
    """Which object it is; also its name in certificates."""
    return str(_fields(cluster, "metadata").get("uid") or "")


def has_tls(cluster: Mapping[str, Any]) -> bool:
    """Whether its gateway and its dashboard speak TLS."""
    return _fields(_fields(cluster, "spec"), "tls").get("enabled") is not False


def asks_for_token(cluster: Mapping[str, Any]) -> bool:
    """Whether they want a token of whoever looks and runs things."""
    return _fields(_fields(cluster, "spec"), "auth").get("mode") != "none"


def names(clusters: Mapping[str, Any]) -> list[str]:
    """Of the objects of a list."""
    return sorted(str(_fields(one, "metadata").get("name")) for one in _objects(clusters.get("items")))


def content(secret: Mapping[str, Any], key: str) -> bytes:
    """What a Secret holds; empty if it does not."""
    text = _fields(secret, "data").get(key)
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        return b""


def head_of(pods: Mapping[str, Any], cluster: str) -> tuple[str, str]:
    """The name of the pod to connect to; and, if that is empty, why there is none.

    Args:
        pods: The list of the cluster's heads.
        cluster: The cluster's UID: pods of an earlier cluster of that name do not count.
    """
    mine = [pod for pod in _objects(pods.get("items")) if _owner(pod) in ("", cluster)]
    serving = [
        pod
        for pod in mine
        if not _fields(pod, "metadata").get("deletionTimestamp") and _fields(pod, "status").get("phase") == "Running"
    ]
    if serving:
        best = max(serving, key=lambda pod: (_is_ready(pod), str(_fields(pod, "metadata").get("creationTimestamp"))))
        return str(_fields(best, "metadata").get("name")), ""
    if not mine:
        return "", "its head has no pod now"
    pod = mine[-1]
    called = _fields(pod, "metadata").get("name")
    if _fields(pod, "metadata").get("deletionTimestamp"):
        return "", f"its head's pod {called} is going, and no other is there yet"
    status = _fields(pod, "status")
    why = next(
        (
            f": {one.get('reason')}: {one.get('message')}"
            for one in _objects(status.get("conditions"))
            if one.get("status") == "False" and one.get("message")
        ),
        "",
    )
    return "", f"its head's pod {called} is {status.get('phase')}{why}"


def _owner(pod: Mapping[str, Any]) -> str:
    owners = _objects(_fields(pod, "metadata").get("ownerReferences"))
    return next((str(one.get("uid")) for one in owners if one.get("controller")), "")


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = _objects(_fields(pod, "status").get("conditions"))
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _fields(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = of.get(name)
    return value if isinstance(value, Mapping) else {}


def _objects(value: Any) -> Iterable[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
