"""Under which names an HTTP server may be asked for: those that a page of another site cannot make a browser say."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection


def is_known(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this server: by an address, as localhost, or by one of its names in lower case."""
    name = name_of(host)
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def name_of(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
