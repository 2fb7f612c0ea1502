"""Files by which clients find an API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_kubeconfig(
    path: Path, cluster: dict[str, Any], user: dict[str, Any], *, name: str = "u", namespace: str = "default"
) -> Path:
    """One cluster, one user, one context, as JSON, which is YAML too; returns the path.

    Args:
        path: Where it is written.
        cluster: `server`, and how it is trusted.
        user: What is shown there.
        name: Of the user, which errors say.
        namespace: Of the context.
    """
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": name, "namespace": namespace}}],
        "current-context": "c",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path
