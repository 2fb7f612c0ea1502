"""Where a cluster's control is, and what lets the operator in. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Of control's gRPC in the head's pod.
PORT = 7600


@dataclass(frozen=True, slots=True)
class Pems:
    """Certificates, PEM.

    Attributes:
        authority: Whom to believe; two while it is rotated.
        certificate: What the operator shows.
        key: Its key.
        cluster: The cluster's name in certificates.
    """

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    cluster: str = ""

    def name_of(self, role: str) -> str:
        """The name that the other side has to show to be of a role."""
        return f"{role}.{self.cluster}.manta"


@dataclass(frozen=True, slots=True)
class Access:
    """How control is reached.

    Attributes:
        target: "host:port".
        token: What lets the caller in; empty for none.
        pems: Certificates; None without TLS.
    """

    target: str
    token: str = field(repr=False)
    pems: Pems | None


def access_of(secret: Mapping[str, Any], host: str, *, tls: bool, port: int = PORT) -> Access | None:
    """How to reach the control whose credentials are in a Secret; None if the Secret lacks something.

    Args:
        secret: With the nodes' certificate and the join token: the head's or the workers'.
        host: Address of the head's pod.
        tls: Whether it speaks TLS.
        port: Of control.
    """
    data = secret.get("data") or {}
    token = _decoded(data, "join.token").decode("ascii", "replace").split()
    pems = None
    if tls:
        pems = Pems(
            authority=_decoded(data, "ca.crt"),
            certificate=_decoded(data, "worker.crt"),
            key=_decoded(data, "worker.key"),
            cluster=_decoded(data, "cluster").decode("ascii", "replace").strip(),
        )
        if not (pems.authority and pems.certificate and pems.key and pems.cluster):
            return None
    if not token or not host:
        return None
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Access(where, token[0], pems)


def _decoded(data: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(data.get(name) or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        return b""
