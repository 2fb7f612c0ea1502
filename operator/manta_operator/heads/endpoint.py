"""Where a cluster's head answers, and what is shown to it. Pure: from its pod and its submitters' Secret."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manta_operator.api.cluster import AuthMode, MantaCluster

#: Of the dashboard, on the head's pod.
PORT = 8265


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One head.

    Attributes:
        cluster: The MantaCluster's UID: another cluster of the same name is another head.
        host: The pod's address. Not a Service's name: two heads must never be taken for one.
        port: Of its dashboard.
        server_name: The name that its certificate must have; empty where there is no TLS.
        authority: PEM of who signed that.
        token: A submitter's; empty where none is asked for.
    """

    cluster: str
    host: str
    port: int = PORT
    server_name: str = ""
    authority: str = ""
    token: str = field(default="", repr=False)


def endpoint(cluster: MantaCluster, pod: Mapping[str, Any] | None, secret: Mapping[str, Any] | None) -> Endpoint | None:
    """Where a cluster's head answers; None as long as it has no address, or there is no Secret to show.

    Args:
        cluster: Which.
        pod: The head's.
        secret: The submitters'.
    """
    if pod is None or pod["metadata"].get("deletionTimestamp"):
        return None
    host = (pod.get("status") or {}).get("podIP")
    token, authority = _file(secret, "token"), _file(secret, "ca.crt")
    tls = cluster.spec.tls.enabled
    if not host or (tls and not authority) or (cluster.spec.auth.mode is not AuthMode.NONE and not token):
        return None
    uid = cluster.metadata.uid
    return Endpoint(
        cluster=uid,
        host=str(host),
        server_name=f"dashboard.{uid}.manta" if tls else "",
        authority=authority if tls else "",
        token=token,
    )


def _file(secret: Mapping[str, Any] | None, name: str) -> str:
    try:
        return base64.b64decode(((secret or {}).get("data") or {}).get(name, ""), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
