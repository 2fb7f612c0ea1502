"""MantaClusters for tests: parsed from what a user would write."""

from __future__ import annotations

from typing import Any

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.parse import parse_cluster
from manta_operator.builders.build import Build
from tests.kube import cases

UID = "6f1c2b1e-7a0f-4a6e-9d4b-0c1f6a2c3d4e"
BUILD = Build()


def raw_cluster(*changes: tuple[str, Any], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """One with a group `w` of workers with 1 CPU and 2Gi.

    Args:
        changes: Values by their paths from `spec`, such as `workerGroups[].replicas`.
        annotations: Of the MantaCluster.
    """
    raw = cases.changed(cases.minimal("MantaCluster"), *changes)
    return {**raw, "metadata": {**raw["metadata"], "uid": UID, "annotations": annotations or {}}}


def cluster(*changes: tuple[str, Any], annotations: dict[str, str] | None = None) -> MantaCluster:
    """The same, parsed."""
    return parse_cluster(raw_cluster(*changes, annotations=annotations))


#: Every field of a cluster that changes a manifest is other than its default.
FULL: tuple[tuple[str, Any], ...] = (
    ("image", "registry.example.org/team/manta:2"),
    ("imagePullSecrets", [{"name": "pull"}]),
    ("tls", {"extraSANs": ["gateway.example.org", "192.0.2.7", "*.example.org"]}),
    ("networkPolicy.extraIngress", [{"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}]),
    ("networkPolicy.extraEgress", [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}]),
    ("head.resources", {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}}),
    ("head.storage", {"size": "10Gi", "storageClassName": "fast", "deletionPolicy": "Retain"}),
    ("head.service", {"type": "LoadBalancer", "annotations": {"cloud.example.org/internal": "true"}}),
    (
        "head.template",
        {
            "metadata": {"labels": {"team": "a"}, "annotations": {"note": "x"}},
            "spec": {
                "priorityClassName": "system-cluster-critical",
                "terminationGracePeriodSeconds": 120,
                "containers": [
                    {"name": "control", "resources": {"limits": {"memory": "8Gi"}}},
                    {"name": "raylet", "env": [{"name": "A", "value": "b"}]},
                    {
                        "name": "logs",
                        "image": "logs:1",
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    },
                ],
            },
        },
    ),
    (
        "workerGroups",
        [
            {
                "name": "gpu",
                "replicas": 3,
                "resources": {"limits": {"cpu": "7500m", "memory": "64Gi", "nvidia.com/gpu": "2"}},
                "labels": {"zone": "a"},
                "customResources": {"licence": 0.5, "disk": 4},
                "objectStore": {"memory": "10G"},
                "template": {
                    "spec": {
                        "nodeSelector": {"gpu": "yes"},
                        "tolerations": [{"key": "gpu", "operator": "Exists"}],
                        "affinity": {
                            "podAntiAffinity": {
                                "preferredDuringSchedulingIgnoredDuringExecution": [
                                    {
                                        "weight": 1,
                                        "podAffinityTerm": {
                                            "topologyKey": "kubernetes.io/hostname",
                                            "labelSelector": {"matchLabels": {"manta.compute/group": "gpu"}},
                                        },
                                    }
                                ]
                            }
                        },
                        "topologySpreadConstraints": [
                            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
                        ],
                        "serviceAccountName": "robot",
                        "volumes": [{"name": "data", "emptyDir": {}}],
                        "initContainers": [
                            {
                                "name": "fetch",
                                "image": "fetch:1",
                                "securityContext": {
                                    "allowPrivilegeEscalation": False,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                            }
                        ],
                        "containers": [
                            {
                                "name": "raylet",
                                "image": "registry.example.org/team/manta-cuda:2",
                                "envFrom": [{"configMapRef": {"name": "settings"}}],
                                "env": [{"name": "HOME", "value": "/data"}],
                                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                                "ports": [{"name": "debug", "containerPort": 5678}],
                            }
                        ],
                    }
                },
            },
            {"name": "w", "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}}},
        ],
    ),
)
