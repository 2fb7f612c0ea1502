"""What `state.py` decides and a shell performs.

Everything but `Write` leaves the process, and does so only once every `Write` decided up to then is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from manta.control.model import Actor, ActorId, Job, JobId, Node, NodeId


class Table(IntEnum):
    """Tables of the store; the numbers are part of its format."""

    META = 0
    NODES = 1
    JOBS = 2
    ACTORS = 3
    KV = 4
    FUNCTIONS = 5
    REQUESTS = 6


@dataclass(frozen=True, slots=True)
class Write:
    """Keep this row; None forgets it."""

    table: Table
    key: bytes
    row: Any


@dataclass(frozen=True, slots=True)
class StartOnNode:
    """Ask a raylet for a start, again and again until it answers or its node is dead."""

    node_id: NodeId
    actor: Actor
    #: Detached, or owned by one that is.
    outlives_job: bool = False
    cause: str = ""


@dataclass(frozen=True, slots=True)
class KillOnNode:
    """Tell a raylet to end an incarnation, until it confirms or its node is dead."""

    node_id: NodeId
    actor_id: ActorId
    incarnation: int
    graceful: bool
    reason: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class FinishJobOnNode:
    """Tell a raylet that a job is over, until it confirms or is dead."""

    node_id: NodeId
    job_id: JobId
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell watchers the present state of one thing."""

    row: Node | Job | Actor
    cause: str = ""


Command: TypeAlias = Write | StartOnNode | KillOnNode | FinishJobOnNode | Publish


class Decision(NamedTuple):
    """What an event leads to: the answer to whoever asked, and what to do."""

    answer: Any
    commands: list[Command]
