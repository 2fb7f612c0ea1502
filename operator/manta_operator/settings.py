"""What an operator is told at its start: flags, else the environment."""

from __future__ import annotations

import argparse
import os
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator is told.

    Attributes:
        namespaces: Where it looks after things; none for everywhere. With some it needs no ClusterRole, and sees no nodes.
        namespace: Its own: from there clusters' controls are reached.
        lease_namespace: Where the Lease is by which one of several instances leads.
        lease_name: Its name. Two operators for different namespaces have different ones.
        lease_s: How long after its last sign of life a leader is taken for gone.
        identity: Of this instance; no two are the same, ever.
        host: Address of the port for probes and metrics.
        port: That port; 0 for any, -1 for none.
        metrics_namespaces: From where the clusters' pods may be asked for their numbers: where Prometheus runs.
        cluster_domain: The end of Services' full names.
        kubeconfig: Where the API server is and who we are; None for the pod's own account.
        log_level: From which level on is logged.
    """

    namespaces: tuple[str, ...] = ()
    namespace: str = "manta-system"
    lease_namespace: str = "manta-system"
    lease_name: str = "manta-operator"
    lease_s: int = 15
    identity: str = ""
    host: str = "0.0.0.0"  # noqa: S104 - the kubelet's probes come from outside of the pod
    port: int = 8080
    metrics_namespaces: tuple[str, ...] = ("monitoring",)
    cluster_domain: str = "cluster.local"
    kubeconfig: Path | None = None
    log_level: str = "INFO"


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Read flags, and where they say nothing the environment: `--lease-namespace` is MANTA_OPERATOR_LEASE_NAMESPACE there.

    Ends the process with a message and status 2 when something cannot be understood.
    """

    def said(flag: str, otherwise: str) -> str:
        return environment.get("MANTA_OPERATOR_" + flag.upper().replace("-", "_")) or otherwise

    parser = argparse.ArgumentParser(
        prog="python -m manta_operator", description="Look after MantaClusters and MantaJobs."
    )
    parser.add_argument(
        "--namespaces",
        default=said("namespaces", ""),
        help="namespaces to look after, with commas between (default: all)",
    )
    parser.add_argument(
        "--lease-namespace",
        default=said("lease-namespace", _own_namespace(environment)),
        help="namespace of the Lease (default: the pod's own)",
    )
    parser.add_argument("--lease-name", default=said("lease-name", "manta-operator"), help="name of the Lease")
    parser.add_argument(
        "--lease-seconds",
        type=int,
        default=said("lease-seconds", "15"),
        help="how long after its last sign of life a leader is taken for gone; writes may take a third of it (default: 15)",
    )
    parser.add_argument("--metrics-host", default=said("metrics-host", "0.0.0.0"), help="address of the port below")  # noqa: S104
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=said("metrics-port", "8080"),
        help="port of /healthz, /readyz and /metrics; 0 for any, -1 for none",
    )
    parser.add_argument(
        "--metrics-namespaces",
        default=said("metrics-namespaces", "monitoring"),
        help="namespaces of Prometheus, with commas between: NetworkPolicies let it in (default: monitoring)",
    )
    parser.add_argument(
        "--cluster-domain", default=said("cluster-domain", "cluster.local"), help="end of Services' full names"
    )
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        default=said("kubeconfig", "") or None,
        help="file that says where the API server is (default: the pod's service account)",
    )
    parser.add_argument("--log-level", default=said("log-level", "INFO"), choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    flags = parser.parse_args(arguments)
    namespaces, monitoring = _names(flags.namespaces), _names(flags.metrics_namespaces)
    for name in (*namespaces, *monitoring, flags.lease_namespace):
        if not _NAME.fullmatch(name):
            parser.error(f"{name!r} is no namespace's name: lower-case letters, digits and hyphens, at most 63")
    if not -1 <= flags.metrics_port <= 65535:
        parser.error(f"--metrics-port is a port, 0 for any or -1 for none, not {flags.metrics_port}")
    if not 3 <= flags.lease_seconds <= 600:
        parser.error(f"--lease-seconds is between 3 and 600, not {flags.lease_seconds}")
    return Settings(
        namespaces=namespaces,
        namespace=_own_namespace(environment),
        lease_namespace=flags.lease_namespace,
        lease_name=flags.lease_name,
        lease_s=flags.lease_seconds,
        # A pod's container may start twice: its UID alone is not one instance.
        identity=f"{environment.get('MANTA_POD_NAME') or socket.gethostname()}_{uuid.uuid4()}",
        host=flags.metrics_host,
        port=flags.metrics_port,
        metrics_namespaces=monitoring,
        cluster_domain=flags.cluster_domain,
        kubeconfig=flags.kubeconfig,
        log_level=flags.log_level,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def _own_namespace(environment: Mapping[str, str]) -> str:
    if found := environment.get("MANTA_POD_NAMESPACE"):
        return found
    try:
        return _NAMESPACE_FILE.read_text().strip() or "default"
    except OSError:
        return "default"
