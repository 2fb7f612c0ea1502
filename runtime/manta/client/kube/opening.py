"""From `k8s://NAMESPACE/NAME` to a gateway to speak with, or a dashboard's URL."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Final

from manta.client.kube import kubeconfig, resource, tls
from manta.client.kube.address import KubeAddress, parse
from manta.client.remote.address import Gateway
from manta.core.errors import (
    ClusterAbsentError,
    ClusterNotReadyError,
    ForwardedCertificateError,
    ForwardedTokenError,
    KubernetesError,
    KubernetesForbiddenError,
    MantaError,
    MissingPackageError,
    PortForwardError,
)

try:
    from manta.client.kube.forward import LOOPBACK, Forward
    from manta.client.kube.server import ANSWER_S, AbsentError, Server
except ModuleNotFoundError as missing:
    if missing.name != "aiohttp":
        raise
    # It comes with Manta, and yet may have been left out.
    raise MissingPackageError(f"k8s:// addresses need aiohttp, which is not installed: {kubeconfig.INSTALL}") from None

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from manta.core.errors import AuthenticationError

#: How long a cluster that does not take drivers yet is waited for, and how often it is looked at.
READY_S: Final = 180.0
LOOK_S: Final = 1.0
#: For a question and one more try of it.
ASK_S: Final = 2 * ANSWER_S + 5.0

Say = Callable[[str], None]


class Cluster:
    """A MantaCluster that takes drivers, and a way to its head. `close` ends that way.

    Args:
        forward: The way.
        address: What was asked for.
        namespace: Where it is.
        uid: Which object it is; also its name in certificates.
        token: Shown to its gateway or dashboard; a secret.
        token_from: Where that is from, for people.
        authority: PEM of who vouches for them.
        authority_from: Where that is from.
    """

    def __init__(
        self,
        forward: Forward,
        address: KubeAddress,
        namespace: str,
        uid: str,
        *,
        token: str,
        token_from: str,
        authority: bytes,
        authority_from: str,
    ) -> None:
        self.forward, self.address = forward, address
        self.namespace, self.uid = namespace, uid
        self.token, self.token_from = token, token_from
        self.authority, self.authority_from = authority, authority_from

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.namespace}/{self.address.name}"

    def gateway(self) -> ForwardedGateway:
        """For a driver's session, which closes it."""
        return ForwardedGateway(self)

    def dashboard(self, local_port: int = 0) -> tuple[str, ssl.SSLContext]:
        """The URL under which its dashboard is reached from this machine until `close`, and how TLS is spoken there.

        Raises:
            OSError: The port is taken.
        """
        port = self.forward.listen(resource.DASHBOARD_PORT, local_port)
        return f"https://{LOOPBACK}:{port}", self.context("dashboard")

    def refused(self, refusal: AuthenticationError) -> ForwardedTokenError:
        """What it means that it does not take the token."""
        return ForwardedTokenError(
            f"MantaCluster {self.name} was reached and does not take the token of {self.token_from}: {refusal.message}",
            self.address.text,
        )

    def stranger(self, role: str, why: str) -> ForwardedCertificateError:
        """What it means that a process of its head does not prove who it is."""
        return ForwardedCertificateError(
            f"what was reached as the {role} of MantaCluster {self.name} does not prove to be {self.certificate_name(role)}: "
            f"{why}. The authority is that of {self.authority_from}",
            self.address.text,
        )

    def certificate_name(self, role: str) -> str:
        """The name in the certificate of a role."""
        return f"{role}.{self.uid}.manta"

    def context(self, role: str) -> tls.NamedContext:
        """TLS with a process of its head."""
        try:
            return tls.named(self.certificate_name(role), self.authority)
        except ssl.SSLError:
            raise self.stranger(role, "there is no certificate in the authority") from None

    def close(self) -> None:
        """End the way there, and every connection on it."""
        self.forward.close()


class ForwardedGateway(Gateway):
    """The gateway of a cluster on Kubernetes: every connection to it is forwarded."""

    __slots__ = ("cluster",)

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.address = cluster.address.text
        self.token, self.ca = cluster.token, cluster.authority
        self.name = self.host = cluster.certificate_name("gateway")
        self.port = resource.GATEWAY_PORT

    def context(self) -> ssl.SSLContext:
        """TLS as it is spoken with it."""
        context = self.cluster.context("gateway")
        context.set_alpn_protocols(["h2"])
        return context

    def dial(self, timeout_s: float) -> socket.socket:
        """A connection to it, forwarded."""
        return self.cluster.forward.dial(self.port, timeout_s)

    def reason(self, failed: OSError) -> MantaError:
        """Why there is no TLS with it: what forwarding failed of, if it did."""
        if isinstance(failed, ssl.SSLCertVerificationError):
            return self.cluster.stranger("gateway", failed.verify_message)
        return self.cluster.forward.failure or super().reason(failed)

    def close(self) -> None:
        """End the way there."""
        self.cluster.close()


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
        uid = _wait_for(forward, namespace, wanted.name, say)
        forward.cluster = (namespace, wanted.name, uid)
        token_from, authority_from = "the argument token", "the argument ca"
        if token is None or ca is None:
            secret = f"{wanted.name}-{role}"
            shown, authority = _credentials(forward, namespace, secret)
            if token is None:
                token, token_from = shown, f"Secret {namespace}/{secret}"
            if ca is None:
                ca, authority_from = authority, f"Secret {namespace}/{secret}"
        return Cluster(
            forward,
            wanted,
            namespace,
            uid,
            token=token,
            token_from=token_from,
            authority=ca,
            authority_from=authority_from,
        )
    except BaseException:
        forward.close()
        raise


def _wait_for(forward: Forward, namespace: str, name: str, say: Say) -> str:
    """The UID of a cluster, once it takes drivers."""
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
            return resource.uid(cluster)
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


def _credentials(forward: Forward, namespace: str, name: str) -> tuple[str, bytes]:
    """Token and authority of a Secret."""

    async def read(server: Server) -> dict[str, object]:
        return await server.get(resource.secret_path(namespace, name))

    try:
        secret = forward.ask(read, ASK_S)
    except AbsentError:
        raise ClusterNotReadyError(
            f"there is no Secret {namespace}/{name} with a token for drivers; the operator makes it unless spec.auth says "
            "otherwise. Pass the arguments token and ca",
            forward.address,
        ) from None
    except KubernetesForbiddenError as forbidden:
        raise KubernetesForbiddenError(
            f"{forbidden.message}. Whoever may read it can give you its token and ca.crt, for the arguments token and ca",
            forward.address,
        ) from None
    token, authority = (resource.content(secret, key) for key in ("token", "ca.crt"))
    text = token.decode("ascii", "replace").strip()
    if not text.isascii() or not text.isalnum() or not authority:
        raise PortForwardError(
            f"Secret {namespace}/{name} has no {'token' if authority else 'ca.crt'} that could be used", forward.address
        )
    return text, authority
