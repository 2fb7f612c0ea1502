"""What a manifest depends on besides its cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The operator's surroundings. None of it is part of a pod's revision: another operator replaces no pods.

    Attributes:
        operator_namespace: Where the operator runs: from there control may be reached.
        metrics_namespaces: From where metrics may be read, by whoever has a token of the cluster: where Prometheus runs.
        cluster_domain: The end of Services' full names.
    """

    operator_namespace: str = "manta-system"
    metrics_namespaces: tuple[str, ...] = ("monitoring",)
    cluster_domain: str = "cluster.local"
