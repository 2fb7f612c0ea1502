"""Asks the cluster what the page shows: only while somebody looks, once for all who do, and never longer than they wait."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from manta.aio.supervisor import Supervisor
from manta.client import state_query, state_rows
from manta.core.errors import MantaError
from manta.dashboard.pages.facts import Facts, Row, Seen, numbers_of
from manta.jobs import states
from manta.jobs.records import Records
from manta.rpc.v1 import control_pb2 as pb
from manta.rpc.v1 import state_pb2 as st

log = logging.getLogger(__name__)

#: What is younger is shown as it is.
FRESH_S: Final = 0.9
#: A reader waits so long for something newer.
PATIENCE_S: Final = 2.5
#: Nodes have so long.
NODES_S: Final = 2.0
#: What each node tells of its tasks, bytes. What runs is told first.
TASK_ROOM: Final = 512 << 10
#: Taking tasks apart costs this process at most one part in so many of its time.
TASK_SHARE: Final = 10
#: Actors and jobs looked at, the newest.
MOST_ACTORS: Final = 500
MOST_JOBS: Final = 200

Ask = Callable[[str, Any], Awaitable[Any]]
T = TypeVar("T")


class Look:
    """What the page shows.

    Args:
        ask: Calls a method of control by its name, with a deadline.
        tasks: Parent of the asking.
        clock: Monotonic seconds.
    """

    def __init__(self, ask: Ask, tasks: Supervisor, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._parent, self._clock = ask, tasks, clock
        self._records = Records(ask)
        self._facts = Facts()
        self._asking: asyncio.Task[None] | None = None
        #: Unix seconds: when the asking under way began; since when control does not answer.
        self._began = 0.0
        self._away_since: float | None = None
        self._why = ""
        #: Tasks are not asked for before, monotonic seconds.
        self._tasks_again = 0.0

    async def latest(self) -> Seen:
        """What there is now, or what there was last and since when nothing is heard."""
        if self._asking is None and time.time() - self._facts.at > FRESH_S:
            self._began = time.time()
            self._asking = self._parent.start(self._refresh(), name="look for the page")
        if self._asking is not None:
            await asyncio.wait((self._asking,), timeout=PATIENCE_S)
        since, why = self._away_since, self._why
        if since is None and self._asking is not None and time.time() - self._began >= PATIENCE_S:
            since, why = self._began, "it has not answered yet"
        return Seen(self._facts, since, why)

    async def _refresh(self) -> None:
        try:
            self._facts = await self._look()
            self._away_since, self._why = None, ""
        except MantaError as error:
            if self._away_since is None:
                self._away_since = self._began
            self._why = str(error)
        except Exception:
            # A page that cannot be made must not end the server of the jobs' routes.
            log.exception("the page's facts cannot be read")
            self._away_since = self._away_since or self._began
            self._why = "what it answered cannot be read; the dashboard's log says why"
        finally:
            self._asking = None

    async def _look(self) -> Facts:
        notes: list[str] = []
        before = self._facts
        # Whoever does not answer this answers nothing.
        nodes = await self._ask("ListNodes", pb.ListNodesRequest())
        _, told_now, actors, groups, drivers, demand, jobs, tasks = await asyncio.gather(
            self._part(notes, "control's own troubles", self._troubles(notes), None),
            self._part(notes, "nodes", self._told(), ({}, {})),
            self._part(notes, "actors", self._ask("ListActors", pb.ListActorsRequest(limit=MOST_ACTORS)), None),
            self._part(notes, "groups", self._ask("ListPlacementGroups", pb.ListPlacementGroupsRequest()), None),
            self._part(notes, "programs", self._ask("ListJobs", pb.ListJobsRequest()), None),
            self._part(notes, "what waits", self._ask("GetDemand", pb.GetDemandRequest()), None),
            self._part(notes, "jobs", self._jobs(), (before.jobs, before.jobs_total)),
            self._part(notes, "tasks", self._tasks(notes, before), (before.tasks, before.tasks_at)),
        )
        told, silent = told_now
        return Facts(
            at=time.time(),
            nodes=nodes.nodes,
            told=told,
            silent=silent,
            actors=before.actors if actors is None else state_rows.actors(actors),
            actors_total=before.actors_total if actors is None else actors.total,
            groups=before.groups if groups is None else state_rows.placement_groups(groups),
            drivers=before.drivers if drivers is None else state_rows.jobs(drivers),
            jobs=jobs[0],
            jobs_total=jobs[1],
            tasks=tasks[0],
            tasks_at=tasks[1],
            notes=notes,
            demand=before.demand if demand is None else demand.demand,
        )

    async def _part(self, notes: list[str], what: str, asking: Awaitable[T], otherwise: T) -> T:
        """One part of it; where it fails, the rest is shown."""
        try:
            return await asking
        except MantaError as error:
            notes.append(f"{what} are as they were: {error}")
        except Exception:
            log.exception("an answer about %s cannot be read", what)
            notes.append(f"{what} are as they were: the answer cannot be read; the dashboard's log says why")
        return otherwise

    async def _troubles(self, notes: list[str]) -> None:
        """What keeps control from taking on anything new."""
        answer = await self._ask("GetStatistics", pb.GetStatisticsRequest())
        if problem := json.loads(answer.json or "{}").get("problem"):
            notes.append(str(problem))

    async def _told(self) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
        question = state_query.question_of("node", NODES_S)
        reply = await self._ask(question.method, question.request)
        told, failed = state_query.answers_of(reply, st.StateAnswer)
        silent = {node_id: str(error) for node_id, error in failed.items()}
        found: dict[str, Mapping[str, Any]] = {}
        for node_id, answer in told:
            numbers = numbers_of(answer.json)
            if numbers is None:
                silent[node_id] = "what it says are no numbers of a node"
            else:
                found[node_id] = numbers
        return found, silent

    async def _jobs(self) -> tuple[list[Row], int]:
        found = await self._records.all()
        return [states.details(facts) for facts in found[:MOST_JOBS]], len(found)

    async def _tasks(self, notes: list[str], before: Facts) -> tuple[list[Row] | Any, float]:
        now = self._clock()
        if now < self._tasks_again:
            return before.tasks, before.tasks_at
        at = time.time()
        question = state_query.question_of("tasks", NODES_S, TASK_ROOM)
        reply = await self._ask(question.method, question.request)
        began = self._clock()
        # It may be ten thousands of rows: others are answered meanwhile.
        found = await asyncio.to_thread(state_query.found_in, "tasks", reply)
        took = self._clock() - began
        self._tasks_again = self._clock() + took * TASK_SHARE
        notes.extend(found.notes)
        return found.rows, at
