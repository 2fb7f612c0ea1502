"""What the page shows, as it was last told. Plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manta.rpc.v1 import control_pb2 as pb

#: What of a node's store is shown.
_STORE = ("sealed_bytes", "unsealed_bytes", "capacity_bytes", "objects", "waiting_creates")


def numbers_of(text: str) -> Mapping[str, Any] | None:
    """What a node says of itself, as far as it is shown; None when that is something else."""
    try:
        said = json.loads(text)
        memory = said["memory"]
        return {
            **{name: _counts(said[name]) for name in ("total", "available", "workers")},
            "store": {name: int(said["store"][name]) for name in _STORE},
            "memory": {name: int(memory[name]) for name in ("used", "limit")} if memory else None,
            "tasks": {name: int(said["tasks"][name]) for name in ("finished", "failed")},
        }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _counts(said: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in said.items()}


#: A row of the state API, or a job as the routes show it.
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is, as of a moment.

    Attributes:
        at: When control told it, Unix seconds; 0 when it never has.
        nodes: As control knows them, dead ones included.
        told: What each node says of itself in numbers, by id in hex.
        silent: Why a node said nothing, by id in hex.
        actors: Rows of the state API, the newest first, and how many there are.
        groups: Placement groups.
        drivers: Programs that have joined.
        jobs: Submitted ones, the newest first, and how many there are.
        tasks: What is under way first, then what ended last.
        tasks_at: When tasks were asked for, Unix seconds; 0 when never.
        notes: What is missing in all that, in sentences.
        demand: What waits for room.
    """

    at: float = 0.0
    nodes: Sequence[pb.NodeInfo] = ()
    told: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    actors: Sequence[Row] = ()
    actors_total: int = 0
    groups: Sequence[Row] = ()
    drivers: Sequence[Row] = ()
    jobs: Sequence[Row] = ()
    jobs_total: int = 0
    tasks: Sequence[Row] = ()
    tasks_at: float = 0.0
    notes: Sequence[str] = ()
    demand: pb.Demand = field(default_factory=pb.Demand)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader is shown: the facts, and whether they are today's.

    Attributes:
        facts: What control told last.
        away_since: Since when control does not answer, Unix seconds; None while it does.
        why: What was heard instead.
    """

    facts: Facts
    away_since: float | None = None
    why: str = ""
