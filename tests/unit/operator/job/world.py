"""A MantaJob, its cluster and its head as plain values, and an operator that can be killed, be late, and hear things twice."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace
from typing import Any

from manta_operator.api.job import JobStatus, MantaJob
from manta_operator.api.parse import parse_job, read_status
from manta_operator.api.render import render
from manta_operator.heads.mirror import Mirror
from manta_operator.job import times
from manta_operator.job.actions import Delete, Hold, Plan, Release, Stop, Submit
from manta_operator.job.plan import plan
from manta_operator.job.seen import FINALIZER, ClusterSeen, HeadSeen, Seen

UID = "5f0c3c1e-0000-4000-8000-000000000001"
BEGIN = 1_800_000_000.0


def raw_job(**spec: Any) -> dict[str, Any]:
    """A MantaJob as the API server has it."""
    return {
        "apiVersion": "manta.compute/v1alpha1",
        "kind": "MantaJob",
        "metadata": {"name": "train", "namespace": "team", "uid": UID, "generation": 1, "resourceVersion": "1"},
        "spec": {"clusterRef": {"name": "demo"}, "entrypoint": "python train.py", **spec},
    }


def job(**spec: Any) -> MantaJob:
    """The same, parsed."""
    return parse_job(raw_job(**spec))


@dataclass
class Run:
    """A try on a head."""

    state: str = "PENDING"
    stopping: bool = False
    ended_at: float | None = None
    began_at: float | None = None
    code: int | None = None

    @property
    def alive(self) -> bool:
        return self.state in ("PENDING", "RUNNING")


_NUMBERS = itertools.count()


@dataclass
class Head:
    """What a head remembers, and what it has ever started."""

    runs: dict[str, Run] = field(default_factory=dict)
    memory: str = field(default_factory=lambda: f"m{next(_NUMBERS)}")


@dataclass
class World:
    """Everything there is, with an operator that sees some of it."""

    dice: random.Random
    raw: dict[str, Any]
    now: float = BEGIN
    exists: bool = True
    cluster: ClusterSeen | None = field(default_factory=ClusterSeen)
    head: Head = field(default_factory=Head)
    #: How often each id was started, on whatever head.
    starts: dict[str, int] = field(default_factory=dict)
    #: Events on their way to the operator.
    events: list[dict[str, Any]] = field(default_factory=list)
    mirror: Mirror = field(default_factory=Mirror)
    listening: bool = False
    #: What the operator's copy has of the object.
    copy: dict[str, Any] | None = None
    #: The operator's own last write: its copy is never older.
    floor: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    writes: int = 0
    released_at: float | None = None
    ended: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.history.append(self.raw)
        self.copy = self.raw

    # ---- the API server

    @property
    def version(self) -> int:
        return int(self.raw["metadata"]["resourceVersion"])

    def change(self, **parts: Any) -> None:
        """A new version of the object."""
        metadata = {**self.raw["metadata"], **parts.pop("metadata", {}), "resourceVersion": str(self.version + 1)}
        self.raw = {**self.raw, **parts, "metadata": metadata}
        self.history.append(self.raw)
        gone = metadata.get("deletionTimestamp") and not metadata.get("finalizers")
        if gone:
            self.exists, self.released_at = False, self.now

    def change_spec(self, **spec: Any) -> None:
        generation = self.raw["metadata"]["generation"] + 1
        self.change(spec={**self.raw["spec"], **spec}, metadata={"generation": generation})

    def delete(self) -> None:
        if not self.raw["metadata"].get("deletionTimestamp"):
            self.change(metadata={"deletionTimestamp": times.written(self.now)})

    # ---- the head

    @property
    def head_up(self) -> bool:
        return self.cluster is not None and not self.cluster.suspended

    def tell(self, submission_id: str) -> None:
        if self.listening:
            self.events.append({"type": "job", "job": self.event_of(submission_id)})

    def event_of(self, submission_id: str) -> dict[str, Any]:
        run = self.head.runs[submission_id]
        return {
            "submission_id": submission_id,
            "status": run.state,
            "stopping": run.stopping,
            "message": f"it is {run.state}",
            "error_type": None,
            "began_unix_ms": None if run.began_at is None else int(run.began_at * 1000),
            "ended_unix_ms": None if run.ended_at is None else int(run.ended_at * 1000),
            "exit_code": run.code,
            "log_tail": "",
        }

    def submit(self, submission_id: str) -> None:
        if submission_id not in self.head.runs:
            self.head.runs[submission_id] = Run()
            self.starts[submission_id] = self.starts.get(submission_id, 0) + 1
            self.tell(submission_id)

    def stop(self, submission_id: str) -> None:
        run = self.head.runs.get(submission_id)
        if run is not None and run.alive and not run.stopping:
            run.stopping = True
            self.tell(submission_id)

    def progress(self, submission_id: str) -> None:
        """A run does what runs do."""
        run = self.head.runs[submission_id]
        if run.stopping:
            run.state, run.ended_at, run.code = "STOPPED", self.now, -15
        elif run.state == "PENDING":
            run.state, run.began_at = "RUNNING", self.now
        elif self.dice.random() < 0.6:
            run.state, run.ended_at, run.code = "FAILED", self.now, 1
        else:
            run.state, run.ended_at, run.code = "SUCCEEDED", self.now, 0
        self.tell(submission_id)

    def kill_runs(self) -> None:
        """The head's pod is gone: what ran is dead, and its memory will say so when it is back."""
        for run in self.head.runs.values():
            if run.alive:
                run.state, run.ended_at, run.code = ("STOPPED" if run.stopping else "FAILED"), self.now, None
        self.cut()

    # ---- the stream

    def listen(self) -> None:
        if self.head_up and not self.listening:
            self.listening = True
            self.mirror.opened()
            self.events = [{"type": "begin", "session": "s"}]
            self.events += [{"type": "job", "job": self.event_of(one)} for one in self.head.runs]
            self.events.append({"type": "whole", "memory": self.head.memory})

    def cut(self) -> None:
        self.listening = False
        self.events.clear()
        self.mirror.broken()

    def hear(self) -> None:
        if self.events:
            event = self.events.pop(0)
            self.mirror.event(event)
            if event["type"] == "job" and self.dice.random() < 0.2:
                self.mirror.event(event)

    # ---- the operator

    def restart(self) -> None:
        """It was killed; the next one begins with a fresh list, and knows nothing of heads."""
        self.cut()
        self.mirror = Mirror()
        self.copy, self.floor = self.raw, 0

    def see(self) -> None:
        """Its copy comes further, perhaps all the way."""
        newer = [one for one in self.history if int(one["metadata"]["resourceVersion"]) >= self.floor]
        self.copy = self.dice.choice(newer[-3:])

    def seen(self) -> Seen:
        assert self.copy is not None
        return Seen(
            job=parse_job(self.copy),
            status=read_status(JobStatus, self.copy),
            held=FINALIZER in self.copy["metadata"].get("finalizers", []),
            cluster=self.cluster,
            head=HeadSeen(
                synced=self.mirror.synced and self.cluster is not None,
                memory=self.mirror.memory,
                jobs=dict(self.mirror.jobs) if self.cluster is not None else {},
            ),
        )

    def look(self, die: int = -1) -> Plan:
        """One reconcile, killed before its write number `die`."""
        if not self.exists:
            return Plan()
        decided = plan(self.seen(), self.now)
        assert self.copy is not None
        version = int(self.copy["metadata"]["resourceVersion"])
        steps: list[Any] = [*([decided.status] if decided.status is not None else []), *decided.actions]
        for number, step in enumerate(steps):
            if number == die:
                self.restart()
                break
            match step:
                case Submit():
                    if not self.head_up:
                        break
                    self.submit(step.submission_id)
                    if number + 1 == die:  # killed before it hears the answer
                        self.restart()
                        break
                    self.mirror.submitted(step.submission_id)
                    continue
                case Stop():
                    if not self.head_up:
                        break
                    self.stop(step.submission_id)
                    continue
            if version != self.version or not self.exists:
                break  # a conflict: the object is another by now
            self.writes += 1
            others = [one for one in self.raw["metadata"].get("finalizers", []) if one != FINALIZER]
            match step:
                case JobStatus():
                    self.change(status=render(step))
                case Hold():
                    if self.raw["metadata"].get("deletionTimestamp"):
                        break  # the API server takes no finalizer then
                    self.change(metadata={"finalizers": [*others, FINALIZER]})
                case Release():
                    self.change(metadata={"finalizers": others})
                case Delete():
                    self.delete()
                    if self.exists and not self.raw["metadata"].get("finalizers"):
                        self.exists = False
            version = self.floor = self.version
        return decided

    # ---- what must always hold

    def check(self) -> None:
        status = self.raw.get("status") or {}
        limit = self.raw["spec"].get("backoffLimit", 0)
        alive = [one for one, run in self.head.runs.items() if run.alive and self.head_up]
        assert len(alive) <= 1, f"{alive} run at once"
        assert all(count == 1 for count in self.starts.values()), f"started more than once: {self.starts}"
        assert status.get("failed", 0) <= limit + 1
        interrupted = status.get("interrupted", 0)
        # One that a suspension is about to stop, or did and nobody has counted it yet.
        assert len(self.starts) <= limit + 1 + interrupted + 1
        if self.raw["spec"].get("suspend") is None:
            assert len(self.starts) <= limit + 1
        # Tries may have been counted that never began: handed to a head that forgot whether it had them.
        assert status.get("attempts", 0) <= limit + 1 + interrupted
        if self.ended is not None:
            assert status == self.ended, "an end was changed"
        elif status.get("phase") in ("Succeeded", "Failed"):
            self.ended = status


def settle(world: World, most: int = 400) -> None:
    """Nothing goes wrong any more: everything is heard, and time passes, until nothing is to be done."""
    still = 0
    for _ in range(most):
        world.listen()
        while world.events:
            world.hear()
        world.copy = world.raw
        before = world.writes, dict(world.starts), render(world.raw.get("status") or {})
        decided = world.look()
        world.check()
        if not world.exists:
            return
        for one in [one for one, run in world.head.runs.items() if run.alive]:
            world.progress(one)
        if decided.again_at is not None:
            world.now = max(world.now, decided.again_at)
        quiet = not decided.actions and decided.status is None and decided.again_at is None and not world.events
        still = still + 1 if quiet and before == (world.writes, dict(world.starts), before[2]) else 0
        if still >= 3:
            return
    raise AssertionError(f"it does not come to rest: {world.raw.get('status')}")


def another(world: World, **changes: Any) -> World:
    """A world like it."""
    return replace(world, **changes)
