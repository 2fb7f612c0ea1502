"""A MantaCluster that was found: the way to its gateway and its dashboard, and what they are shown."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from manta.client.kube import resource, tls
from manta.client.kube.address import KubeAddress
from manta.client.kube.forward import LOOPBACK, Forward
from manta.client.kube.refusals import AbsentError
from manta.client.kube.server import ANSWER_S, Server
from manta.client.remote.address import Gateway
from manta.core.errors import (
    ClusterNotReadyError,
    ForwardedCertificateError,
    ForwardedTokenError,
    KubernetesForbiddenError,
    MantaError,
    PortForwardError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from manta.core.errors import AuthenticationError

#: For a question and one more try of it.
ASK_S: Final = 2 * ANSWER_S + 5.0


@dataclass(slots=True)
class Shown:
    """What a cluster is shown, and trusted by, and where each is from, for people.

    Attributes:
        token: A secret; empty for a cluster that wants none.
        token_from: Where that is from.
        authority: PEM of who vouches for its gateway and its dashboard; empty for one without TLS.
        authority_from: Where that is from.
    """

    token: str = field(default="", repr=False)
    token_from: str = "the argument token"  # noqa: S105 - where one is from
    authority: bytes = b""
    authority_from: str = "the argument ca"


class Cluster:
    """A MantaCluster that takes drivers, and a way to its head. `close` ends that way.

    Args:
        forward: The way.
        address: What was asked for.
        found: The MantaCluster.
        shown: What it is shown.
        secret: The Secret from which some of that is; empty if none is.
    """

    def __init__(
        self, forward: Forward, address: KubeAddress, found: Mapping[str, Any], shown: Shown, secret: str
    ) -> None:
        self.forward, self.address, self.shown = forward, address, shown
        self.namespace = forward.cluster[0]
        #: Which object it is; also its name in certificates.
        self.uid = resource.uid(found)
        self.plain = not resource.has_tls(found)
        self._secret = secret

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.namespace}/{self.address.name}"

    def gateway(self) -> ForwardedGateway:
        """For a driver's session, which closes it."""
        return ForwardedGateway(self)

    def dashboard(self, local_port: int = 0) -> tuple[str, ssl.SSLContext | None]:
        """The URL under which its dashboard is reached from this machine until `close`, and how TLS is spoken there, if it is.

        Raises:
            OSError: The port is taken.
        """
        port = self.forward.listen(resource.DASHBOARD_PORT, local_port)
        if self.plain:
            return f"http://{LOOPBACK}:{port}", None
        return f"https://{LOOPBACK}:{port}", self.context("dashboard")

    def renew(self) -> bool:
        """Read its Secret again, after a refusal; whether there is something new to show."""
        if not self._secret:
            return False
        try:
            token, authority = credentials(self.forward, self.namespace, self._secret)
        except MantaError:
            return False
        shown, before = self.shown, (self.shown.token, self.shown.authority)
        where = f"Secret {self.namespace}/{self._secret}"
        if shown.token_from == where:
            shown.token = token
        if shown.authority_from == where:
            shown.authority = authority
        return before != (shown.token, shown.authority)

    def refused(self, refusal: AuthenticationError) -> ForwardedTokenError:
        """What it means that it does not take the token."""
        return ForwardedTokenError(
            f"MantaCluster {self.name} was reached and does not take the token of {self.shown.token_from}: {refusal.message}",
            self.address.text,
        )

    def stranger(self, role: str, why: str) -> ForwardedCertificateError:
        """What it means that a process of its head does not prove who it is."""
        return ForwardedCertificateError(
            f"what was reached as the {role} of MantaCluster {self.name} does not prove to be {self.certificate_name(role)}: "
            f"{why}. The authority is that of {self.shown.authority_from}",
            self.address.text,
        )

    def certificate_name(self, role: str) -> str:
        """The name in the certificate of a role."""
        return f"{role}.{self.uid}.manta"

    def context(self, role: str) -> tls.NamedContext:
        """TLS with a process of its head."""
        try:
            return tls.named(self.certificate_name(role), self.shown.authority)
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
        self.token, self.ca, self.plain = cluster.shown.token, cluster.shown.authority, cluster.plain
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

    def renew(self) -> bool:
        """Look for a new token and a new authority, after a refusal."""
        changed = self.cluster.renew()
        self.token, self.ca = self.cluster.shown.token, self.cluster.shown.authority
        return changed

    def close(self) -> None:
        """End the way there."""
        self.cluster.close()


def credentials(forward: Forward, namespace: str, name: str) -> tuple[str, bytes]:
    """Token and authority of a Secret."""

    async def read(server: Server) -> dict[str, Any]:
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
            f"{forbidden.message}. Whoever may read it can give you its token and ca.crt, for the arguments token and ca "
            "or MANTA_TOKEN_FILE and MANTA_CA_FILE",
            forward.address,
        ) from None
    token, authority = (resource.content(secret, key) for key in ("token", "ca.crt"))
    text = token.decode("ascii", "replace").strip()
    if not text.isascii() or not text.isalnum() or not authority:
        raise PortForwardError(
            f"Secret {namespace}/{name} has no {'token' if authority else 'ca.crt'} that could be used", forward.address
        )
    return text, authority
