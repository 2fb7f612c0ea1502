"""Which cluster a command is about."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from manta.api import embedded
from manta.cli.failures import NoClusterError
from manta.core.environment import env

HOW_TO_START: Final = """\
No cluster of yours runs on this machine{where}.

An embedded cluster lives as long as the program that started it:
    python -c "import manta; manta.init(); input('Enter ends it ')"
Another one is named by its raylet's socket, as `manta.init().address_info["address"]` says:
    manta {command} --address unix:/path/to/raylet.sock"""

#: How addresses begin of clusters on Kubernetes, and of all that are reached through a gateway.
KUBERNETES: Final = "k8s://"
ELSEWHERE: Final = ("manta://", "ray://", KUBERNETES)


@dataclass(frozen=True, slots=True)
class Cluster:
    """An embedded cluster, by the note its driver left."""

    #: Path of its raylet's socket.
    raylet: str
    session_dir: str
    #: The process that started it; 0 if unknown.
    driver_pid: int
    #: When, in Unix seconds; 0 if unknown.
    started: float
    #: URL of its page, and the file of its tokens, where the head is on this machine; empty elsewhere, or where there is none.
    dashboard: str = ""
    tokens: str = ""
    #: Where this machine's processes of it show health and metrics, by process.
    metrics: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """As `init(address=...)` and `--address` take it."""
        return f"unix:{self.raylet}"

    def age_s(self) -> float:
        """How long it has been running."""
        return max(0.0, time.time() - self.started) if self.started else 0.0


def running() -> list[Cluster]:
    """This user's clusters on this machine, the newest first."""
    return [
        Cluster(
            entry["raylet"],
            entry["session_dir"],
            _number(entry.get("pid")),
            float(entry["started"]),
            str(entry.get("dashboard") or ""),
            str(entry.get("tokens") or ""),
            entry["metrics"] if isinstance(entry.get("metrics"), dict) else {},
        )
        for entry in embedded.running()
    ]


def find(address: str | None, command: str) -> Cluster:
    """The cluster an address names.

    Args:
        address: `unix:PATH`, a path, `HOST:PORT` of a head that this machine has joined, or "auto"; None means MANTA_ADDRESS
            (or RAY_ADDRESS), else "auto": the newest.
        command: The command's name, for the text.
    Raises:
        NoClusterError: There is none; says how there would be.
    """
    wanted = address or env("ADDRESS") or "auto"
    if wanted.startswith(ELSEWHERE):
        inside = ""
        if wanted.startswith(KUBERNETES):
            head = f"{wanted.partition('?')[0].rpartition('/')[2]}-head"
            inside = f" Inside it works without an address: `kubectl exec {head} -- manta {command}`"
        raise NoClusterError(
            f"`manta {command}` asks a node on this machine, and {wanted} is reached through a gateway. From here work "
            f"`manta status --address {wanted}`, `manta list nodes` and the like, and `manta job`.{inside}"
        )
    clusters = running()
    if wanted in ("auto", "local"):
        if not clusters:
            looked = f" (looked in {embedded.root()})"
            raise NoClusterError(HOW_TO_START.format(where=looked, command=command))
        return clusters[0]
    node = None if wanted.startswith(("unix:", "/", ".")) else embedded.node_of(wanted)
    path = node["raylet"] if node is not None else os.path.abspath(wanted.removeprefix("unix:"))
    known = next((cluster for cluster in clusters if cluster.raylet == path), None)
    if known is not None:
        return known
    if not os.path.exists(path):
        raise NoClusterError(
            f"Nothing is at {path}. Clusters of yours that run here: "
            f"{', '.join(cluster.address for cluster in clusters) or 'none'}"
        )
    return Cluster(path, os.path.dirname(path), 0, 0.0)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
