"""The folder that the containers of a pod share: made, cleaned of what a container before left, and how its raylet is found."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from manta.pod.commands import RAYLET_LINK
from manta.pod.places import make_private


def make(path: str) -> None:
    """Make it, with its folder of logs. Several containers may do so at once."""
    make_private(os.path.dirname(path))
    make_private(path)
    make_private(os.path.join(path, "logs"))


def sweep(path: str) -> list[str]:
    """Remove sockets on which nobody listens, and what leads to them: a raylet before this one left them. Their names."""
    swept = []
    for name in os.listdir(path):
        full = os.path.join(path, name)
        with suppress(OSError):
            if name == RAYLET_LINK or (stat.S_ISSOCK(os.lstat(full).st_mode) and _is_dead(full)):
                os.unlink(full)
                swept.append(name)
    return sorted(swept)


def _is_dead(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass  # it listens, and has much to do
    return False


def raylet_is_ready(path: str, about: Mapping[str, Any], control: str) -> None:
    """Let the others find the raylet: gateways by a link, tools and jobs' drivers by a note.

    Args:
        path: The session's folder.
        about: What the raylet said of itself.
        control: As it dials it.
    """
    from manta.api import embedded

    channel = about["channel"]
    beside = os.path.join(path, f"{RAYLET_LINK}.new")
    with suppress(FileNotFoundError):
        os.unlink(beside)
    os.symlink(os.path.basename(channel), beside)
    os.replace(beside, os.path.join(path, RAYLET_LINK))
    embedded.note(path, {"raylet": channel, "pid": 0, "node_id": about["node_id"], "control": control})
