"""What `state.py` decides and a shell performs.

Everything but `Write` leaves the process, and does so only once every `Write` decided up to then is on disk. What is for a node
is given again until that node has answered it or is dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from manta.control.groups.model import GroupId
from manta.control.model import Actor, ActorId, Amounts, Job, JobId, Node, NodeId


class Table(IntEnum):
    """Tables of the store; the numbers are part of its format."""

    META = 0
    NODES = 1
    JOBS = 2
    ACTORS = 3
    KV = 4
    FUNCTIONS = 5
    REQUESTS = 6
    GROUPS = 7


@dataclass(frozen=True, slots=True)
class Write:
    """Keep this row; None forgets it."""

    table: Table
    key: bytes
    row: Any


@dataclass(frozen=True, slots=True)
class StartOnNode:
    """Have a raylet start an incarnation; it says whether it will."""

    node_id: NodeId
    actor: Actor
    #: Detached, or owned by one that is.
    outlives_job: bool = False
    cause: str = ""


@dataclass(frozen=True, slots=True)
class KillOnNode:
    """Have a raylet end an incarnation."""

    node_id: NodeId
    actor_id: ActorId
    incarnation: int
    graceful: bool
    reason: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class FinishJobOnNode:
    """Have a raylet free what a job holds there."""

    node_id: NodeId
    job_id: JobId
    cause: str = ""


@dataclass(frozen=True, slots=True)
class PrepareOnNode:
    """Have a raylet hold bundles of a placement group back; it says whether it does."""

    node_id: NodeId
    group_id: GroupId
    attempt: int
    bundles: Mapping[int, Amounts]
    cause: str = ""


@dataclass(frozen=True, slots=True)
class CommitOnNode:
    """Have a raylet open bundles that it holds."""

    node_id: NodeId
    group_id: GroupId
    attempt: int
    indexes: tuple[int, ...]
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ReturnOnNode:
    """Have a raylet give bundles back."""

    node_id: NodeId
    group_id: GroupId
    indexes: tuple[int, ...]
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ForgetNode:
    """The node is dead: it is told nothing any more, and its line ends."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell watchers the present state of one thing."""

    row: Node | Job | Actor
    cause: str = ""


#: What a node has to do.
OnNode: TypeAlias = StartOnNode | KillOnNode | FinishJobOnNode | PrepareOnNode | CommitOnNode | ReturnOnNode
Command: TypeAlias = Write | OnNode | ForgetNode | Publish


class Decision(NamedTuple):
    """What an event leads to: the answer to whoever asked, and what to do."""

    answer: Any
    commands: list[Command]
