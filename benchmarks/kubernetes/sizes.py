"""How large images are where they are kept and fetched: each layer compressed by gzip."""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.harness import images
from tests.e2e.harness.cluster import Cluster
from tests.e2e.harness.engine import Engine

_BLOCK = 1 << 20
#: How the step is written down that puts the first layer on the base, by either of Docker's builders.
_FIRST = ("in /etc/", "/etc/ # buildkit")


def layers(archive: Path, name: str) -> tuple[list[int], int]:
    """Compressed bytes of each layer of an image in what `docker save` wrote, lowest first; and how many are the base's."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        [image] = [one for one in json.load(manifest) if name in one["RepoTags"]]
        config = tar.extractfile(image["Config"])
        assert config is not None
        steps = [one for one in json.load(config)["history"] if not one.get("empty_layer")]
        found = []
        for layer in image["Layers"]:
            file = tar.extractfile(layer)
            assert file is not None
            packer, size = zlib.compressobj(6, zlib.DEFLATED, 31), 0
            while block := file.read(_BLOCK):
                size += len(packer.compress(block))
            found.append(size + len(packer.flush()))
    # The Dockerfile begins with the lists of users and groups; its last step makes no layer where there was nothing to compile.
    ours = next(number for number, one in enumerate(steps) if one.get("created_by", "").rstrip().endswith(_FIRST))
    return found, ours


def sizes(archive: Path) -> dict[str, dict[str, int]]:
    """Of each of the project's images in an archive: all of it, and what the Dockerfile puts over its base."""
    found = {}
    for name in images.TARGETS.values():
        every, of_base = layers(archive, name)
        found[name] = {"compressed": sum(every), "over_base": sum(every[of_base:])}
    return found


@contextlib.contextmanager
def archive_of(kubernetes: Cluster) -> Iterator[Path]:
    """An archive of the images that a cluster has on its nodes."""
    if kubernetes.engine is None or not kubernetes.engine.pid:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.tar"
            Engine(os.environ).docker("save", "--output", path, *images.TARGETS.values(), timeout_s=600)
            yield path
    else:
        yield images.have_archive()
