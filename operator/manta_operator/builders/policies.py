"""The NetworkPolicies of a cluster.

Whoever gets through still shows a certificate or a token. These keep out who has no business there at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.head import ServiceType
from manta_operator.builders import labels
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest

#: Set by Kubernetes itself on every namespace.
_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def policies(cluster: MantaCluster, build: Build) -> tuple[Manifest, ...]:
    """Who may connect to the head and to the workers; none where the spec wants none."""
    wanted = cluster.spec.network_policy
    if not wanted.enabled:
        return ()
    cluster_pods = [{"podSelector": {"matchLabels": labels.selector(cluster)}}]
    head = [
        {"from": cluster_pods, "ports": _ports("control", "channel")},
        {"from": [_namespaces(build.operator_namespace)], "ports": _ports("control", "dashboard")},
        # Drivers and browsers of the same namespace. From elsewhere, as extraIngress says.
        {"from": [{"podSelector": {}}], "ports": _ports("gateway", "dashboard")},
        *_metrics(build, "metrics", "metrics-control", "metrics-gateway", "metrics-dashb"),
    ]
    if cluster.spec.head.service.type is not ServiceType.CLUSTER_IP:
        # Whoever asks for a door to the outside wants it open: which addresses come through it is the load balancer's to say.
        head.append({"ports": _ports("gateway")})
    head += [_at_the_doors(rule) for rule in wanted.extra_ingress]
    workers = [{"from": cluster_pods, "ports": _ports("channel")}, *_metrics(build, "metrics")]
    return (
        _policy(cluster, labels.head_name(cluster), "head", head),
        _policy(cluster, labels.workers_policy_name(cluster.metadata.name), "worker", workers),
    )


def _policy(cluster: MantaCluster, name: str, component: str, ingress: list[dict[str, Any]]) -> Manifest:
    spec: dict[str, Any] = {
        "podSelector": {"matchLabels": labels.selector(cluster, component)},
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    }
    extra = cluster.spec.network_policy.extra_egress
    if extra:
        spec["policyTypes"] = ["Ingress", "Egress"]
        spec["egress"] = [
            {"to": [{"podSelector": {"matchLabels": labels.selector(cluster)}}]},
            # Names have to be looked up, wherever this Kubernetes has its DNS: in a namespace, or on each node.
            {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]},
            *(dict(rule) for rule in extra),
        ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": labels.metadata(cluster, name, labels={labels.COMPONENT: component}),
        "spec": spec,
    }


def _at_the_doors(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule of the user's; if it names no ports, it is about the gateway and the dashboard."""
    return {**rule, "ports": rule.get("ports") or _ports("gateway", "dashboard")}


def _metrics(build: Build, *ports: str) -> list[dict[str, Any]]:
    if not build.metrics_namespaces:
        return []
    return [{"from": [_namespaces(*build.metrics_namespaces)], "ports": _ports(*ports)}]


def _namespaces(*names: str) -> dict[str, Any]:
    expression = {"key": _NAMESPACE_NAME, "operator": "In", "values": list(names)}
    return {"namespaceSelector": {"matchExpressions": [expression]}}


def _ports(*names: str) -> list[dict[str, Any]]:
    # By number: a name would also open a sidecar's port that is called the same.
    return [{"protocol": "TCP", "port": labels.PORTS[name]} for name in names]
