"""From `k8s://NAMESPACE/NAME` to a gateway to speak with, or a dashboard's URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from manta.client.kube import kubeconfig, resource
from manta.client.kube.address import parse
from manta.core.environment import setting
from manta.core.errors import (
    ClusterAbsentError,
    ClusterNotReadyError,
    KubernetesError,
    KubernetesForbiddenError,
    MissingPackageError,
)
from manta.transport.auth import read_token

try:
    from manta.client.kube.cluster import ASK_S, Cluster, Shown, credentials
    from manta.client.kube.forward import Forward
    from manta.client.kube.refusals import AbsentError
except ModuleNotFoundError as missing:
    if missing.name != "aiohttp":
        raise
    # It comes with Manta, and yet may have been left out.
    raise MissingPackageError(f"k8s:// addresses need aiohttp, which is not installed: {kubeconfig.INSTALL}") from None

#: How long a cluster that does not take drivers yet is waited for, and how often it is looked at.
READY_S: Final = 180.0
LOOK_S: Final = 1.0

Say = Callable[[str], None]


def open_cluster(
    address: str,
    *,
    token: str | None = None,
    ca: bytes | None = None,
    role: str = "submitter",
    say: Say = lambda text: None,
) -> Cluster:
    """Find a MantaCluster and wait until it takes drivers.

    Args:
        address: k8s://NAMESPACE/NAME.
        token: What to show it; None for what its Secret has.
        ca: PEM of who vouches for it; None for what its Secret has.
        role: Whose Secret.
        say: Told what is waited for.

    Raises:
        KubernetesError: Of the kind that says what is wrong: the kubeconfig, the API server, permissions, the cluster.
        MissingPackageError: A package is.
    """
    wanted = parse(address)
    try:
        access = kubeconfig.find(wanted.context, wanted.kubeconfig)
    except KubernetesError as wrong:
        raise wrong.at(address) from wrong.__cause__
    namespace = wanted.namespace or access.namespace
    forward = Forward(access, address)
    try:
        found = _wait_for(forward, namespace, wanted.name, say)
        forward.cluster = (namespace, wanted.name, resource.uid(found))
        shown, secret = Shown(token or "", authority=ca or b""), ""
        # An administrator's is asked for even where nobody else is.
        wants_token = token is None and (role == "admin" or resource.asks_for_token(found))
        wants_authority = ca is None and resource.has_tls(found)
        if wants_token or wants_authority:
            secret = f"{wanted.name}-{role}"
            source = f"Secret {namespace}/{secret}"
            try:
                found_token, found_authority = credentials(forward, namespace, secret)
            except KubernetesForbiddenError:
                given = _of_environment()
                if given is None:
                    raise
                (found_token, found_authority), source, secret = (
                    given,
                    "the environment (MANTA_TOKEN, MANTA_CA_FILE)",
                    "",
                )
            if wants_token:
                shown.token, shown.token_from = found_token, source
            if wants_authority:
                shown.authority, shown.authority_from = found_authority, source
        return Cluster(forward, wanted, found, shown, secret)
    except BaseException:
        forward.close()
        raise


def _wait_for(forward: Forward, namespace: str, name: str, say: Say) -> dict[str, Any]:
    """A cluster, once it takes drivers."""
    deadline = time.monotonic() + READY_S
    said = ""
    path = resource.clusters_path(namespace, name)
    while True:
        try:
            cluster = forward.ask(lambda server: server.get(path), ASK_S)
        except AbsentError as absent:
            raise _absent(forward, namespace, name, absent) from None
        standing = resource.standing(cluster)
        if standing.open:
            return cluster
        text = f"MantaCluster {namespace}/{name} takes no drivers yet: {standing.text}"
        if standing.final:
            raise ClusterNotReadyError(
                f"MantaCluster {namespace}/{name} takes no drivers: {standing.text}", forward.address
            )
        if time.monotonic() >= deadline:
            raise ClusterNotReadyError(f"{text}; waited {READY_S:.0f} s for it", forward.address)
        if text != said:
            say(f"{text}; waiting for it")
            said = text
        time.sleep(LOOK_S)


def _absent(forward: Forward, namespace: str, name: str, absent: AbsentError) -> KubernetesError:
    if not absent.kind:
        return ClusterAbsentError(
            f"{forward.access.server} ({forward.access.source}) knows no MantaClusters: install the operator, manta-operator, or "
            "choose another context",
            forward.address,
        )
    try:
        there = resource.names(forward.ask(lambda server: server.get(resource.clusters_path(namespace)), ASK_S))
        known = f"there are {', '.join(there[:20])}" if there else "there is none in that namespace"
    except KubernetesError:
        known = "which others there are may not be asked"
    return ClusterAbsentError(
        f"there is no MantaCluster {name} in namespace {namespace} of {forward.access.server} ({forward.access.source}); {known}",
        forward.address,
    )


def _of_environment() -> tuple[str, bytes] | None:
    """Token and authority as drivers by a gateway's address are given them; None if they are not there, both."""
    token, file, authority = setting("TOKEN"), setting("TOKEN_FILE"), setting("CA_FILE")
    if (token is None and file is None) or authority is None:
        return None
    try:
        with open(authority, "rb") as opened:
            return token if token is not None else read_token(file), opened.read()
    except OSError:
        return None
