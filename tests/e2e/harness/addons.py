"""What kind builds into a node image besides programs: its files for the node, and the manifests of its two add-ons."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.e2e.harness.programs import KIND, source_of

#: Add-ons as constants in kind's Go code: the file, the constant, the manifest's name on the node.
MANIFESTS = (
    ("const_cni.go", "defaultCNIManifest", "default-cni.yaml"),
    ("const_storage.go", "defaultStorageManifest", "default-storage.yaml"),
)


def kinds_source() -> Path:
    """kind's own sources."""
    return source_of(f"sigs.k8s.io/kind@v{KIND.version}")


def put_files(source: Path, root: Path) -> None:
    """Copy kind's files for a node, with the modes that its images/base/Dockerfile gives them."""
    files = source / "images" / "base" / "files"
    for path in files.rglob("*"):
        if path.is_file():
            inner = path.relative_to(files)
            target = root / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            program = inner.is_relative_to("usr/local/bin") or inner.is_relative_to("kind/bin")
            target.chmod(0o755 if program else 0o644)


def put_manifests(source: Path, folder: Path) -> list[str]:
    """Write the add-ons' manifests; the names of the images in them."""
    folder.mkdir(parents=True)
    names = []
    for file, constant, name in MANIFESTS:
        text, images = manifest(source.joinpath("pkg", "build", "nodeimage", file).read_text(), constant)
        (folder / name).write_text(text)
        names += images
    return names


def manifest(code: str, constant: str) -> tuple[str, list[str]]:
    """A manifest out of Go code: raw strings joined with constants; and those constants, which are images' names."""
    images = dict(re.findall(r'^const (\w+) = "(.*)"$', code, re.MULTILINE))
    found = re.search(rf"^const {constant} = ((?:`[^`]*`|\w+|[ ]\+[ ])+)", code, re.MULTILINE)
    assert found, f"kind {KIND.version} has no constant {constant}"
    parts = re.findall(r"`[^`]*`|\w+", found[1])
    return "".join(part[1:-1] if part[0] == "`" else images[part] for part in parts), list(images.values())


#: Units of a distribution that a container has no use for, as kind's Dockerfile removes them.
_UNITS = (
    "lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
    "lib/systemd/system/multi-user.target.wants/*",
    "etc/systemd/system/*.wants/*",
    "lib/systemd/system/local-fs.target.wants/*",
    "lib/systemd/system/sockets.target.wants/*udev*",
    "lib/systemd/system/sockets.target.wants/*initctl*",
    "lib/systemd/system/basic.target.wants/*",
)


def set_up_systemd(root: Path) -> None:
    """Let the node's init start containerd and the kubelet, and nothing else."""
    for pattern in _UNITS:
        for path in root.glob(pattern):
            path.unlink()
    with (root / "etc/systemd/journald.conf").open("a") as file:
        file.write("ReadKMsg=no\n")
    init = root / "sbin/init"
    if os.path.lexists(init):
        init.unlink()
    init.symlink_to("/lib/systemd/systemd")
    control = ["systemctl", f"--root={root}"]
    wanted = ["kubelet.service", "containerd.service", "undo-mount-hacks.service"]
    subprocess.run([*control, "enable", *wanted], check=True, capture_output=True)
    subprocess.run([*control, "mask", "systemd-binfmt.service"], check=True, capture_output=True)
