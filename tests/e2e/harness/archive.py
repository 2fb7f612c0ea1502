"""Writes images as `docker save` does, of one layer: what Docker, containerd and kind load."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Of everything that has a time: the same content gives the same image on every day.
EPOCH = "2026-01-01T00:00:00Z"


def write(path: Path, layer: Path, config: Mapping[str, Any], names: Sequence[str]) -> str:
    """Make an image of a layer; its id.

    Args:
        path: The archive.
        layer: A tar of the file system.
        config: As in an image's `config`: {"Entrypoint": [...], "Env": [...]}.
        names: All its names, with tags.
    """
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    image = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": EPOCH,
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    image_id = hashlib.sha256(image).hexdigest()
    manifest = json.dumps([{"Config": f"{image_id}.json", "RepoTags": list(names), "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in ((f"{image_id}.json", image), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo("layer.tar")
        entry.size = layer.stat().st_size
        with layer.open("rb") as file:
            archive.addfile(entry, file)
    return f"sha256:{image_id}"
