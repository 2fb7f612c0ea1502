"""Which files are in which Secret, and how a Secret is read and written."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from manta.transport import credentials, tls
from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import labels
from manta_operator.builders.labels import Manifest

#: Roles of people and programs outside; one Secret for each, named after it. And of nodes, whose tokens are none of people's.
ROLES = ("viewer", "submitter", "admin")
JOIN = "join"

#: A pod's folder of credentials.
BUNDLE = credentials.AUTHORITY
CLUSTER = tls.CLUSTER_FILE
JOIN_TOKEN = credentials.JOIN_TOKEN
TOKENS = credentials.TOKENS
#: Of a person's Secret, beside the bundle.
TOKEN = "token"  # noqa: S105 - a file's name

#: Most of a file of a Secret that is looked at.
_MOST_BYTES = 1 << 17


def files(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """What a Secret holds; empty where it is no base64, or far too long."""
    found = {}
    for name, text in (secret.get("data") or {}).items():
        try:
            content = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        except (binascii.Error, ValueError):
            content = b""
        found[str(name)] = content if len(content) <= _MOST_BYTES else b""
    return found


def manifest(
    cluster: MantaCluster, name: str, content: Mapping[str, bytes], more_labels: Mapping[str, str] | None = None
) -> Manifest:
    """A Secret of a cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": labels.metadata(cluster, name, labels=more_labels),
        "type": "Opaque",
        "data": {one: base64.b64encode(content[one]).decode() for one in sorted(content)},
    }


def same(seen: Mapping[str, Any], wanted: Manifest) -> bool:
    """Whether a Secret holds what it should. What others have added to it may stay."""
    held = seen["metadata"].get("labels") or {}
    if any(held.get(name) != value for name, value in wanted["metadata"]["labels"].items()):
        return False
    data = seen.get("data") or {}
    return all(data.get(name, "") == value for name, value in wanted["data"].items())
