"""Who may connect where: a matrix over the NetworkPolicies as they are rendered."""

from __future__ import annotations

import dataclasses

import pytest

from manta_operator.builders.labels import PORTS
from manta_operator.builders.pods import head_pod, worker_pod
from manta_operator.builders.policies import policies
from tests.unit.operator.builders.network import Peer, allowed
from tests.unit.operator.clusters import BUILD, cluster

PLAIN = cluster()


def pod(manifest, namespace="default"):
    return Peer(namespace, manifest["metadata"]["labels"])


HEAD = pod(head_pod(PLAIN, BUILD))
WORKER = pod(worker_pod(PLAIN, PLAIN.spec.worker_groups[0], 0, BUILD))
OTHERS = cluster()
OTHERS = dataclasses.replace(OTHERS, metadata=dataclasses.replace(OTHERS.metadata, name="other"))

WHO = {
    "head": HEAD,
    "worker": WORKER,
    "worker of another cluster": pod(worker_pod(OTHERS, OTHERS.spec.worker_groups[0], 0, BUILD)),
    "driver": Peer("default", {"app": "job"}),
    "driver elsewhere": Peer("team-b", {"app": "job"}),
    "one who looks like a worker, elsewhere": dataclasses.replace(WORKER, namespace="team-b"),
    "operator": Peer("manta-system", {"app.kubernetes.io/name": "manta-operator"}),
    "prometheus": Peer("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "internet": Peer(address="198.51.100.1"),
}
METRICS = {"metrics", "metrics-control", "metrics-gateway", "metrics-dashb"}
DOORS = {"gateway", "dashboard"}


def matrix(parsed, build=BUILD):
    """By who and to whom, the ports that may be reached."""
    rendered = policies(parsed, build)
    targets = {"head": HEAD, "worker": WORKER}
    return {
        f"{who} -> {name}": {port for port, number in PORTS.items() if allowed(rendered, peer, target, number)}
        for who, peer in WHO.items()
        for name, target in targets.items()
    }


MATRIX = {
    "head -> head": {"control", "channel"} | DOORS,
    "head -> worker": {"channel"},
    "worker -> head": {"control", "channel"} | DOORS,
    "worker -> worker": {"channel"},
    "worker of another cluster -> head": DOORS,
    "worker of another cluster -> worker": set(),
    "driver -> head": DOORS,
    "driver -> worker": set(),
    "driver elsewhere -> head": set(),
    "driver elsewhere -> worker": set(),
    "one who looks like a worker, elsewhere -> head": set(),
    "one who looks like a worker, elsewhere -> worker": set(),
    "operator -> head": {"control", "dashboard"},
    "operator -> worker": set(),
    "prometheus -> head": METRICS,
    "prometheus -> worker": {"metrics"},
    "internet -> head": set(),
    "internet -> worker": set(),
}


def test_who_may_connect_where():
    """The whole matrix; whoever is not in it is nobody."""
    assert matrix(PLAIN) == MATRIX


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
def test_a_gateway_with_a_door_to_the_outside_is_open(kind):
    """To everybody, and the gateway alone: it asks for a token."""
    opened = matrix(cluster(("head.service.type", kind)))
    for way, ports in MATRIX.items():
        assert opened[way] == (ports | {"gateway"} if way.endswith("head") else ports), way


@pytest.mark.parametrize(
    ("rule", "ports"),
    [
        ({"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "team-b"}}}]}, DOORS),
        (
            {
                "from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "job"}}}],
                "ports": [{"port": 7620}],
            },
            {"gateway"},
        ),
    ],
)
def test_extra_ingress_opens_the_doors(rule, ports):
    """To whom it says; all of them where it names no ports. Workers are no doors."""
    opened = matrix(cluster(("networkPolicy.extraIngress", [rule])))
    for way, before in MATRIX.items():
        if way == "driver elsewhere -> head":
            assert opened[way] == ports
        elif way.endswith("-> worker") or way in ("internet -> head", "prometheus -> head"):
            assert opened[way] == before, way


def test_pods_may_connect_to_anywhere_unless_it_is_said():
    """User code downloads data and packages."""
    outside = Peer(address="192.0.2.7")
    assert allowed(policies(PLAIN, BUILD), WORKER, outside, 443)
    said = cluster(
        ("networkPolicy.extraEgress", [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}])
    )
    rendered = policies(said, BUILD)
    for who in (HEAD, WORKER):
        assert allowed(rendered, who, outside, 443)
        assert not allowed(rendered, who, outside, 80)
        assert not allowed(rendered, who, Peer(address="198.51.100.1"), 443)
        assert not allowed(rendered, who, Peer("default", {"app": "database"}), 5432)
        for protocol in ("UDP", "TCP"):
            assert allowed(rendered, who, Peer("kube-system", {"k8s-app": "kube-dns"}), 53, protocol)


def test_with_extra_egress_the_cluster_still_finds_itself():
    """What its pods want of one another stays."""
    closed = matrix(cluster(("networkPolicy.extraEgress", [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}])))
    for way in ("head -> head", "head -> worker", "worker -> head", "worker -> worker"):
        assert closed[way] == MATRIX[way]


def test_no_policies_where_none_are_wanted():
    """Then others may be the user's."""
    assert policies(cluster(("networkPolicy.enabled", False)), BUILD) == ()


def test_prometheus_is_where_the_operator_was_told():
    """In several namespaces, or in none."""
    told = matrix(PLAIN, dataclasses.replace(BUILD, metrics_namespaces=("team-b", "default")))
    assert told["prometheus -> worker"] == set()
    assert told["driver elsewhere -> head"] == METRICS
    assert told["driver -> worker"] == {"metrics"}
    silent = matrix(PLAIN, dataclasses.replace(BUILD, metrics_namespaces=()))
    assert silent["prometheus -> head"] == set()
