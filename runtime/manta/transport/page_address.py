"""Where a cluster's page is, as its dashboard leaves it with control and drivers find it there. Pure."""

from __future__ import annotations

import json

#: Namespace and key with control. No user's namespace begins with `@`.
NAMESPACE = "@manta/dashboard"
KEY = b"address"
#: Longest address that is believed.
_MOST = 300


def encode(address: str, *, secure: bool) -> bytes:
    """What is left with control.

    Args:
        address: "host:port" as browsers reach it.
        secure: By TLS.
    """
    return json.dumps({"address": address, "scheme": "https" if secure else "http"}).encode()


def decode(value: bytes) -> str:
    """The page's URL; empty when that is none."""
    try:
        said = json.loads(value)
        address, scheme = said["address"], said["scheme"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    if not isinstance(address, str) or scheme not in ("http", "https"):
        return ""
    if len(address) > _MOST or not address.isprintable() or set(address) & set("/?#@ \\\"'<>"):
        return ""
    return f"{scheme}://{address}"
