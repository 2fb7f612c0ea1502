"""Kubernetes' rules for NetworkPolicies, the slow and obvious way: may one pod connect to another's port?"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Peer:
    """Somebody who connects, or is connected to.

    Attributes:
        namespace: Where; empty for an address outside of Kubernetes.
        labels: Of the pod.
        address: Of whoever is no pod.
    """

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


def allowed(
    policies: Sequence[Mapping[str, Any]], source: Peer, target: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Whether a connection is let through: out of the source's policies, and into the target's."""
    return _lets(policies, source, target, "Egress", port, protocol) and _lets(
        policies, target, source, "Ingress", port, protocol
    )


def _lets(
    policies: Sequence[Mapping[str, Any]], whose: Peer, other: Peer, direction: str, port: int, protocol: str
) -> bool:
    of_pod = [
        one["spec"]
        for one in policies
        if whose.namespace == one["metadata"]["namespace"]
        and _matches(one["spec"]["podSelector"], whose.labels)
        and direction in one["spec"]["policyTypes"]
    ]
    if not of_pod:
        return True  # nobody speaks of this pod
    rules = [(spec, rule) for spec in of_pod for rule in spec.get(direction.lower(), [])]
    peers = "from" if direction == "Ingress" else "to"
    here = whose.namespace
    return any(
        (not rule.get("ports") or any(_is_port(one, port, protocol) for one in rule["ports"]))
        and (not rule.get(peers) or any(_is_peer(one, other, here) for one in rule[peers]))
        for _, rule in rules
    )


def _is_port(said: Mapping[str, Any], port: int, protocol: str) -> bool:
    return bool(said.get("protocol", "TCP") == protocol and said.get("port", port) == port)


def _is_peer(said: Mapping[str, Any], peer: Peer, here: str) -> bool:
    if "ipBlock" in said:
        return bool(peer.address) and ipaddress.ip_address(peer.address) in ipaddress.ip_network(
            said["ipBlock"]["cidr"]
        )
    if not peer.namespace:
        return False
    if "namespaceSelector" in said:
        if not _matches(said["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace}):
            return False
    elif peer.namespace != here:
        return False
    return "podSelector" not in said or _matches(said["podSelector"], peer.labels)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "In", "the only one we use"
        if labels.get(one["key"]) not in one["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())
