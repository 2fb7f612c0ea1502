"""`manta dashboard` of a cluster on Kubernetes: forwards its page to this machine until it is interrupted."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
import sys
import threading
import time
from typing import Final
from urllib.parse import urlsplit

from manta.cli.failures import SilentError
from manta.transport import tickets

#: How long the page may take to answer once.
_ANSWER_S: Final = 30.0
_USUAL_PORT: Final = 8265


def show_dashboard(address: str, port: int | None, output: str) -> int:
    """Forward it, say where it is, and stay until Ctrl-C.

    Args:
        address: k8s://NAMESPACE/NAME.
        port: Of this machine; None for the usual one or, where that is taken, any.
        output: "text" or "json".

    Raises:
        MantaError: It cannot be reached; says why.
        SilentError: What is reached does not answer.
    """
    from manta.client.kube.opening import open_cluster

    cluster = open_cluster(address, role="viewer", say=lambda text: print(text, file=sys.stderr))
    try:
        try:
            url, context = cluster.dashboard(_USUAL_PORT if port is None else port)
        except OSError:
            if port is not None:
                raise
            url, context = cluster.dashboard()
        try:
            certificate = _certificate(url, context)
        except (OSError, http.client.HTTPException) as failed:
            raise cluster.forward.failure or SilentError(
                f"{address}: the dashboard does not answer: {failed}"
            ) from None
        link = url
        if cluster.shown.token:
            ticket = tickets.make(cluster.shown.token, time.time(), os.urandom(tickets.NONCE_BYTES))
            link = f"{url}/sign-in?ticket={ticket}"
        _say(cluster.name, url, link, certificate, output)
        threading.Event().wait()
    finally:
        cluster.close()
    return 0


def _certificate(url: str, context: ssl.SSLContext | None) -> str:
    """The fingerprint of its certificate as browsers show it, of a dashboard that answers; empty for one without TLS."""
    where = urlsplit(url)
    assert where.hostname is not None
    if context is None:
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=_ANSWER_S)
    else:
        connection = http.client.HTTPSConnection(where.hostname, where.port, context=context, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/healthz")
        sock = connection.sock
        der = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
        connection.getresponse().read()
    finally:
        connection.close()
    digest = hashlib.sha256(der).hexdigest().upper() if der else ""
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def _say(name: str, url: str, link: str, certificate: str, output: str) -> None:
    if output == "json":
        print(json.dumps({"url": url, "sign_in": link, "certificate_sha256": certificate}, indent=2), flush=True)
        return
    lines = [f"The page of MantaCluster {name} is at {url} until Ctrl-C"]
    if link != url:
        lines.append(f"\n  sign in          once, within ten minutes:\n      {link}")
    if certificate:
        lines.append(
            f"  certificate      the cluster's own, which browsers warn of; its SHA-256 is\n      {certificate}"
        )
    print("\n".join(lines), flush=True)
