"""What the API server was asked: its audit log as values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Call:
    """One request and how it ended.

    Attributes:
        user: Who asked.
        agent: Their User-Agent.
        verb: get, list, watch, create, update, patch, delete, deletecollection.
        group: The API group; empty for the core.
        resource: Such as pods.
        subresource: Such as status; empty for none.
        namespace: Empty for what has none.
        name: Empty for lists, and for creates where the name is in the body alone.
        code: The HTTP status.
        uri: Path and query.
    """

    user: str
    agent: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    uri: str

    @property
    def writes(self) -> bool:
        """Whether it may have changed something."""
        return self.verb in {"create", "update", "patch", "delete", "deletecollection"}


def read(path: Path) -> list[Call]:
    """Calls in the order in which they ended; a last line that is still being written is left out."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    calls = []
    for line in lines:
        entry = json.loads(line)
        about = entry.get("objectRef", {})
        calls.append(
            Call(
                user=entry["user"].get("username", ""),
                agent=entry.get("userAgent", ""),
                verb=entry["verb"],
                group=about.get("apiGroup", ""),
                resource=about.get("resource", ""),
                subresource=about.get("subresource", ""),
                namespace=about.get("namespace", ""),
                name=about.get("name", ""),
                code=entry.get("responseStatus", {}).get("code", 0),
                uri=entry["requestURI"],
            )
        )
    return calls
