"""Who looks at the page asks the cluster once, waits no longer than bearable, and is told what is missing."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from manta.aio.supervisor import Supervisor
from manta.core.errors import OverloadedError, RpcError
from manta.dashboard.pages import look
from manta.dashboard.pages.facts import numbers_of
from manta.dashboard.pages.look import Look
from manta.rpc.v1 import control_pb2 as pb
from manta.rpc.v1 import state_pb2 as st

NODE = b"\1" * 28
NUMBERS = {
    "total": {"CPU": 20_000}, "available": {"CPU": 10_000}, "workers": {"idle": 1}, "memory": None,
    "store": {"sealed_bytes": 1, "unsealed_bytes": 0, "capacity_bytes": 9, "objects": 1, "waiting_creates": 0, "more": 5},
    "tasks": {"finished": 1, "failed": 0},
}  # fmt: skip


class Control:
    """Answers as it is told to."""

    def __init__(self):
        self.asked = []
        self.fails = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.json = json.dumps(NUMBERS)
        self.problem = ""

    async def ask(self, method, request):
        self.asked.append(method)
        await self.gate.wait()
        if method in self.fails:
            raise self.fails[method]
        if method == "ListNodes":
            return pb.ListNodesResponse(nodes=[pb.NodeInfo(node_id=NODE, state=pb.NODE_STATE_ALIVE)])
        if method == "AskNodes":
            what = st.NodeQuery.FromString(request.query).state.what
            answer = st.StateAnswer(json=self.json if what == "node" else "")
            return pb.AskNodesResponse(answers=[pb.NodeAnswer(node_id=NODE, answer=answer.SerializeToString())])
        if method == "GetStatistics":
            return pb.GetStatisticsResponse(json=json.dumps({"problem": self.problem} if self.problem else {}))
        return getattr(pb, f"{method}Response")()


def run(test, clock=time.monotonic):
    """With a control and a look at it."""

    async def whole():
        async with Supervisor() as tasks:
            control = Control()
            await test(control, Look(control.ask, tasks, clock))

    asyncio.run(whole())


def test_many_readers_are_one_question():
    async def test(control, page):
        seen = await asyncio.gather(*(page.latest() for _ in range(20)))
        assert control.asked.count("ListNodes") == 1
        assert len({id(one.facts) for one in seen}) == 1
        await page.latest()
        assert control.asked.count("ListNodes") == 1, "it is fresh"
        assert seen[0].facts.told[NODE.hex()]["total"] == {"CPU": 20_000}

    run(test)


def test_nobody_waits_longer_than_bearable(monkeypatch):
    monkeypatch.setattr(look, "PATIENCE_S", 0.01)

    async def test(control, page):
        control.gate.clear()
        seen = await page.latest()
        assert seen.facts.at == 0
        assert seen.away_since is not None
        assert seen.why == "it has not answered yet"
        assert control.asked == ["ListNodes"]
        control.gate.set()
        monkeypatch.setattr(look, "PATIENCE_S", 10)
        seen = await page.latest()
        assert (seen.away_since, len(seen.facts.nodes)) == (None, 1)

    run(test)


def test_control_that_is_away_leaves_what_was_and_since_when(monkeypatch):
    monkeypatch.setattr(look, "FRESH_S", -1)

    async def test(control, page):
        before = time.time()
        await page.latest()
        control.fails["ListNodes"] = RpcError("connection refused", 14)
        first, second = await page.latest(), await page.latest()
        assert before <= first.away_since == second.away_since
        assert "connection refused" in second.why
        assert len(second.facts.nodes) == 1
        control.fails.clear()
        assert (await page.latest()).away_since is None

    run(test)


def test_a_part_that_fails_is_noted_and_the_rest_is_shown():
    async def test(control, page):
        control.fails = {"ListActors": OverloadedError("ask again"), "KvScan": ValueError("no JSON")}
        facts = (await page.latest()).facts
        assert len(facts.nodes) == 1
        assert "actors are as they were: ask again" in facts.notes
        assert any(note.startswith("jobs are as they were: the answer cannot be read") for note in facts.notes)

    run(test)


def test_an_answer_that_makes_no_sense_ends_nothing():
    """The server of the page is that of the jobs."""

    async def test(control, page):
        control.fails["ListNodes"] = AttributeError("what")
        assert "cannot be read" in (await page.latest()).why

    run(test)


@pytest.mark.parametrize(
    "said",
    [
        "", "[]", "null", "3", "{}", "[" * 100_000, json.dumps(NUMBERS | {"total": [1]}), json.dumps(NUMBERS | {"store": {}}),
        json.dumps(NUMBERS | {"memory": {"used": "x", "limit": 1}}), json.dumps(NUMBERS | {"workers": {"a": {}}}),
        json.dumps(NUMBERS | {"tasks": {"finished": float("inf"), "failed": 0}}),
    ],
)  # fmt: skip
def test_a_node_that_lies_is_said_to(said):
    assert numbers_of(said) is None

    async def test(control, page):
        control.json = said
        facts = (await page.latest()).facts
        assert facts.silent == {NODE.hex(): "what it says are no numbers of a node"}
        assert not facts.told

    run(test)


def test_tasks_are_asked_for_less_often_when_there_are_many(monkeypatch):
    """Taking them apart has its share of this process's time, and no more."""
    monkeypatch.setattr(look, "FRESH_S", -1)
    now = [100.0]

    async def test(control, page):
        def found_in(kind, reply):
            now[0] += 3.0
            return look.state_query.Found([{"state": "RUNNING"}])

        monkeypatch.setattr(look.state_query, "found_in", found_in)
        await page.latest()
        per_look = control.asked.count("AskNodes")
        await page.latest()
        assert control.asked.count("AskNodes") == per_look + 1, "only what nodes say of themselves"
        now[0] += 30.0
        await page.latest()
        assert control.asked.count("AskNodes") == 2 * per_look + 1

    run(test, lambda: now[0])


def test_what_keeps_control_from_new_work_is_noted():
    async def test(control, page):
        control.problem = "control cannot write to its store"
        assert list((await page.latest()).facts.notes) == [control.problem]

    run(test)
