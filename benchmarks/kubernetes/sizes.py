"""How large images are where they are kept and fetched: each layer compressed by gzip."""

from __future__ import annotations

import json
import tarfile
import tempfile
import zlib
from pathlib import Path

from tests.e2e.harness import images
from tests.e2e.harness.cluster import Cluster

_BLOCK = 1 << 20


def layers(archive: Path) -> list[int]:
    """Compressed bytes of each layer of what `docker save` wrote, lowest first."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        [image] = json.load(manifest)
        found = []
        for name in image["Layers"]:
            file = tar.extractfile(name)
            assert file is not None
            packer, size = zlib.compressobj(6, zlib.DEFLATED, 31), 0
            while block := file.read(_BLOCK):
                size += len(packer.compress(block))
            found.append(size + len(packer.flush()))
    return found


def sizes(kubernetes: Cluster) -> dict[str, dict[str, int]]:
    """Of each of the project's images: all of it, and what the Dockerfile puts over its base."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for target, name in images.TARGETS.items():
            if kubernetes.engine is None:
                continue
            archive = next(
                (path for path in images.kept_archives() if path.stem == target), Path(folder) / f"{target}.tar"
            )
            if not archive.exists():
                kubernetes.engine.docker("save", "--output", archive, name, timeout_s=600)
            found[name] = {
                "compressed": sum(every := layers(archive)),
                "over_base": sum(every[-images.LAYERS_OVER_BASE :]),
            }
    return found
