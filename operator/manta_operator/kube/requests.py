"""What a request does, in words that are few: for counting. Pure."""

from __future__ import annotations

from typing import NamedTuple

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Request(NamedTuple):
    """A request as the API server's roles and audit log call it.

    Attributes:
        verb: get, list, watch, create, update, patch, delete.
        resource: Such as pods, or pods/status; "other" for what is no object.
    """

    verb: str
    resource: str


def request_of(method: str, path: str, *, watch: bool = False) -> Request:
    """What a method and a path mean.

    Args:
        method: GET, POST, PUT, PATCH or DELETE.
        path: As `Resource.path` makes it.
        watch: Whether it is a watch.
    """
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        parts = parts[2:]
    elif parts[0] == "apis":
        parts = parts[3:]
    else:
        parts = []
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    if not parts:
        return Request(_VERBS.get(method, "get"), "other")
    named = len(parts) > 1
    resource = f"{parts[0]}/{parts[2]}" if len(parts) > 2 else parts[0]
    if watch:
        return Request("watch", resource)
    return Request(_VERBS.get(method) or ("get" if named else "list"), resource)
