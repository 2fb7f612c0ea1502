"""`helm uninstall` of both charts leaves nothing but what the documents name."""

from __future__ import annotations

import json

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import charts
from tests.support.waiting import wait_until

#: Kubernetes' own, which come and go by themselves.
RESTLESS = {
    "Event",
    "Lease",
    "Endpoints",
    "EndpointSlice",
    "NodeMetrics",
    "PodMetrics",
    "ComponentStatus",
    "ControllerRevision",
}
#: docs/kubernetes: definitions stay, since clusters would be deleted with them; and whoever makes a namespace deletes it.
STAYS = {
    "CustomResourceDefinition//mantaclusters.manta.compute",
    "CustomResourceDefinition//mantajobs.manta.compute",
    f"Namespace//{charts.SYSTEM}",
    f"ConfigMap/{charts.SYSTEM}/kube-root-ca.crt",
    f"ServiceAccount/{charts.SYSTEM}/default",
}


def everything(kubernetes: Cluster) -> set[str]:
    """Each object that Kubernetes has, as KIND/NAMESPACE/NAME."""
    kinds = kubernetes.kubectl("api-resources", "--verbs=list", "--output=name").split()
    found = json.loads(kubernetes.kubectl("get", ",".join(kinds), "--all-namespaces", "--output=json"))["items"]
    return {
        f"{one['kind']}/{one['metadata'].get('namespace', '')}/{one['metadata']['name']}"
        for one in found
        if one["kind"] not in RESTLESS
    }


def test_what_was_there_before_is_there_afterwards_and_nothing_else(kubernetes: Cluster):
    """Pods, Services, Secrets, claims and their volumes, policies, accounts, roles: all of them go."""
    with kubernetes.namespace() as namespace:
        before = everything(kubernetes)
        with charts.operator(kubernetes), charts.manta_cluster(kubernetes, namespace):
            during = everything(kubernetes)
        assert f"Pod/{namespace}/demo-head" in during
        wait_until(lambda: not left(kubernetes, before), timeout_s=120, what="everything is gone")


def left(kubernetes: Cluster, before: set[str]) -> set[str]:
    return everything(kubernetes) - before - STAYS
