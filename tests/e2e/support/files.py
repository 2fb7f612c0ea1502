"""Files of this checkout in pods: a ConfigMap of them, mounted under the same path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def _key(top: Path, path: Path) -> str:
    return str(path.relative_to(top)).replace("/", "..")


def tree(name: str, namespace: str, top: Path, files: Sequence[Path]) -> dict[str, Any]:
    """A ConfigMap of files below a folder."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {_key(top, path): path.read_text() for path in files},
    }


def mounted(top: Path, files: Sequence[Path], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A volume of it, and its mount where the folder is on this machine."""
    # One folder down: on the top of such a volume there are links, whose ends are called otherwise in each pod.
    items = [{"key": _key(top, path), "path": f"files/{path.relative_to(top)}"} for path in files]
    volume = {"name": "files", "configMap": {"name": name, "items": items}}
    return volume, {"name": "files", "mountPath": str(top), "subPath": "files", "readOnly": True}
