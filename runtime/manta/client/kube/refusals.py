"""What it means that an API server does not answer, or refuses, for people."""

from __future__ import annotations

import os
import ssl
from typing import Final

import aiohttp

from manta.client.kube.access import Access
from manta.core.errors import (
    KubernetesError,
    KubernetesForbiddenError,
    KubernetesUnauthorizedError,
    KubernetesUnreachableError,
)

#: How much of a server's own words is passed on.
_WORDS: Final = 600


class AbsentError(KubernetesError):
    """There is no such object. For callers here, who know what that means.

    Attributes:
        kind: The resource that the server knows and has no such object of; empty if it does not know the resource.
    """

    code = "KUBERNETES_ABSENT"
    kind = ""


def name_of(access: Access) -> str:
    """The API server."""
    return f"the API server {access.server} ({access.source})"


def unreachable(access: Access, failed: BaseException) -> KubernetesError:
    """The error for a question that was not answered."""
    if isinstance(failed, KubernetesError):
        return failed
    if isinstance(failed, aiohttp.ClientConnectorCertificateError):
        why = getattr(failed.certificate_error, "verify_message", "") or str(failed.certificate_error)
        return KubernetesUnreachableError(f"{name_of(access)} does not prove who it is: {why}")
    if isinstance(failed, TimeoutError):
        return KubernetesUnreachableError(f"{name_of(access)} did not answer in time")
    if isinstance(failed, aiohttp.ClientConnectorError):
        failed = failed.os_error
        if isinstance(failed, ssl.SSLError):
            return KubernetesUnreachableError(f"no TLS with {name_of(access)}: {failed.reason or failed}")
    number = getattr(failed, "errno", None)
    if isinstance(number, int) and number > 0:  # asyncio puts the address into the text's place
        words = os.strerror(number)
    else:
        words = getattr(failed, "strerror", None) or str(failed) or type(failed).__name__
    return KubernetesUnreachableError(f"cannot reach {name_of(access)}: {words}")


def refused(access: Access, path: str, status: int, body: object, verb: str = "get") -> KubernetesError:
    """The error for an answer that is none of what was asked for.

    Args:
        access: Who was asked.
        path: For what.
        status: The HTTP status.
        body: A Status object, if it was the API server that answered; somebody on the way may say anything.
        verb: What was asked for, as permissions call it.
    """
    said = body if isinstance(body, dict) else {}
    words = " ".join(str(said.get("message") or (body if isinstance(body, str) else "")).split())[:_WORDS]
    if status == 401:
        return KubernetesUnauthorizedError(
            f"{name_of(access)} does not accept the credentials of user {access.user.name!r} (401): they have expired, or are "
            f"another cluster's. Log in again; `kubectl{access.kubectl} auth whoami` says whether it worked"
        )
    if status == 403:
        return KubernetesForbiddenError(
            f"{name_of(access)} forbids user {access.user.name!r} what this needs (403): {words or path}. "
            f"Check with: {can_i(access, path, verb)}"
        )
    if status == 404:
        details = said.get("details")
        absent = AbsentError(words or f"there is no {path}")
        absent.kind = str(details.get("kind") or "") if isinstance(details, dict) and details.get("name") else ""
        return absent
    if status < 400:
        return KubernetesUnreachableError(
            f"what answers at {access.server} ({access.source}) is no API server: it said {status} to GET {path}"
        )
    return KubernetesUnreachableError(f"{name_of(access)} answered {status} to GET {path}: {words or 'nothing more'}")


def can_i(access: Access, path: str, verb: str = "get") -> str:
    """How kubectl asks whether one may do that to a path."""
    parts = path.partition("?")[0].strip("/").split("/")
    group = parts[1] if parts[0] == "apis" else ""
    rest = parts[3 if group else 2 :]  # namespaces NAMESPACE RESOURCE [NAME [SUBRESOURCE]]
    if len(rest) < 3:
        return f"kubectl{access.kubectl} auth can-i {verb} {path}"
    resource = f"{rest[2]}.{group}" if group else rest[2]
    verb = verb if len(rest) > 3 else "list"
    name = f"/{rest[3]}" if len(rest) > 3 else ""
    subresource = f" --subresource {rest[4]}" if len(rest) > 4 else ""
    return f"kubectl{access.kubectl} auth can-i {verb} {resource}{name}{subresource} -n {rest[1]}"
