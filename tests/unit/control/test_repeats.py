"""Every RPC x {request lost, reply lost, duplicate in flight, delayed, reordered after cancel} ends as a single call does.

The rows come from the service's descriptor: an RPC without one fails the first test.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest
from google.protobuf.message_factory import GetMessageClass

from manta.rpc.v1 import common_pb2, control_pb2
from tests.unit.control.handlers import METHODS, Control

NODE = b"n" * 28
OTHER_NODE = b"o" * 28
JOB = b"\1\0\0\0"
DRIVER = common_pb2.Address(node_id=NODE, worker_id=b"d" * 28)
ALIVE, PENDING, UNREADY = (bytes([n]) * 12 + JOB for n in (1, 2, 3))
HASH = b"h" * 32
CPU = common_pb2.Resources(amounts={"CPU": 10000})
TWO_CPUS = common_pb2.Resources(amounts={"CPU": 20000})


def info(node_id):
    return control_pb2.NodeInfo(node_id=node_id, raylet_target="unix:/nowhere", total=TWO_CPUS)


def creation(actor_id, **fields):
    return dict(actor_id=actor_id, job_id=JOB, owner=DRIVER, place=CPU, spec=b"spec", **fields)


def line_call(number, method, **fields):
    """A call on a line, the same at each delivery."""
    request = GetMessageClass(METHODS[method].input_type)(**fields)
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        request.request_id = b"line" * 4
    return control_pb2.LineCall(number=number, method=method, payload=request.SerializeToString())


def report(**outcome):
    return dict(node_id=NODE, actor_id=ALIVE, incarnation=1, **outcome)


GROUP = b"g" * 14 + JOB


def bundles(group_id, **fields):
    return {
        "group": control_pb2.PlacementGroupInfo(
            group_id=group_id, job_id=JOB, strategy=control_pb2.PLACEMENT_STRATEGY_PACK, bundles=[CPU], **fields
        )
    }


#: What there is before each row's call.
BEFORE = [
    ("RegisterNode", {"node": info(NODE), "driver_ids": [DRIVER.worker_id]}),
    ("RegisterJob", {"driver": DRIVER, "namespace": "space"}),
    ("PutFunction", {"job_id": JOB, "function_hash": HASH, "blob": b"code"}),
    ("CreateActor", creation(ALIVE, name="alive", max_restarts=5)),
    (
        "ReportActor",
        report(
            started=control_pb2.ActorStartedReport(address=common_pb2.Address(node_id=NODE, worker_id=b"w" * 28), pid=9)
        ),
    ),
    ("CreateActor", creation(PENDING, detached=True, function_hash=HASH)),
    ("CreateActor", creation(UNREADY, dependencies_unready=True)),
    ("KvPut", {"namespace": "n", "key": b"key", "value": b"old"}),
    ("CreatePlacementGroup", bundles(GROUP, name="group")),
    # Somebody to take what the first one gives up.
    ("RegisterNode", {"node": info(b"t" * 28)}),
]


@dataclass(frozen=True)
class Row:
    """One RPC's call, and what somebody else does to the same thing between it and its delayed repetition."""

    fields: dict = field(default_factory=dict)
    then: tuple = ()


DIED = control_pb2.DeathCause(kind=control_pb2.DEATH_KIND_SYSTEM_ERROR, message="crashed")

ROWS = {
    "RegisterNode": Row({"node": info(OTHER_NODE)}, (("UnregisterNode", {"node_id": OTHER_NODE, "reason": "left"}),)),
    "Heartbeat": Row(
        {"node_id": NODE, "number": 5, "available": CPU},
        (("Heartbeat", {"node_id": NODE, "number": 6, "available": TWO_CPUS}),),
    ),
    "Attach": Row(
        {
            "node_id": NODE,
            "calls": [line_call(1, "KvPut", namespace="n", key=b"key", value=b"new", overwrite=True)],
            "watch": control_pb2.WatchRequest(actor_ids=[ALIVE]),
        },
        (("KvPut", {"namespace": "n", "key": b"key", "value": b"newer", "overwrite": True}),),
    ),
    "UnregisterNode": Row({"node_id": NODE, "reason": "left"}, (("RegisterNode", {"node": info(OTHER_NODE)}),)),
    "DrainNode": Row(
        {"node_id": NODE, "grace_ms": 60_000, "reason": "kernel"},
        (("UnregisterNode", {"node_id": NODE, "reason": "left"}),),
    ),
    "GetDemand": Row(),
    "WatchDemand": Row(),
    "ListNodes": Row(),
    "ClusterResources": Row(),
    "ReportWorkersDied": Row(
        {"node_id": NODE, "worker_ids": [DRIVER.worker_id]}, (("CreateActor", creation(b"z" * 12 + JOB)),)
    ),
    "RegisterJob": Row(
        {"driver": DRIVER, "namespace": "second"},
        (("FinishJob", {"job_id": b"\2\0\0\0", "state": control_pb2.JOB_STATE_FAILED}),),
    ),
    "FinishJob": Row(
        {"job_id": JOB, "state": control_pb2.JOB_STATE_SUCCEEDED},
        (("RegisterJob", {"driver": DRIVER, "namespace": "x"}),),
    ),
    "ListJobs": Row(),
    "CreateActor": Row(
        creation(b"c" * 12 + JOB, name="new", detached=True),
        (("KillActor", {"actor_id": b"c" * 12 + JOB, "no_restart": True}),),
    ),
    "ActorDependenciesReady": Row(
        {"actor_id": UNREADY, "spec": b"resolved"}, (("KillActor", {"actor_id": UNREADY, "no_restart": True}),)
    ),
    "GetActor": Row({"actor_id": ALIVE}),
    "GetNamedActor": Row({"name": "alive", "namespace": "space"}),
    "ListNamedActors": Row({"all_namespaces": True}),
    "ListActors": Row(),
    "KillActor": Row(
        {"actor_id": ALIVE, "no_restart": False},
        (
            ("ReportActor", report(died=DIED)),
            (
                "ReportActor",
                dict(
                    report(
                        started=control_pb2.ActorStartedReport(
                            address=common_pb2.Address(node_id=NODE, worker_id=b"v" * 28)
                        )
                    ),
                    incarnation=2,
                ),
            ),
        ),
    ),
    "ReleaseActor": Row({"actor_id": ALIVE}, (("ReportActor", report(died=DIED)),)),
    "ReportActor": Row(report(died=DIED), (("KillActor", {"actor_id": ALIVE, "no_restart": True}),)),
    "KvPut": Row(
        {"namespace": "n", "key": b"key", "value": b"new", "overwrite": True},
        (("KvPut", {"namespace": "n", "key": b"key", "value": b"newer", "overwrite": True}),),
    ),
    "KvGet": Row({"namespace": "n", "key": b"key"}),
    "KvDel": Row(
        {"namespace": "n", "key": b"k", "prefix": True},
        (("KvPut", {"namespace": "n", "key": b"key", "value": b"back"}),),
    ),
    "KvKeys": Row({"namespace": "n"}),
    "KvScan": Row({"namespace": "n", "prefix": b"k"}),
    "KvExists": Row({"namespace": "n", "key": b"key"}),
    "PutFunction": Row(
        {"job_id": JOB, "function_hash": b"i" * 32, "blob": b"more code"},
        (("FinishJob", {"job_id": JOB, "state": control_pb2.JOB_STATE_SUCCEEDED}),),
    ),
    "GetFunction": Row({"function_hash": HASH}),
    "CreatePlacementGroup": Row(
        bundles(b"h" * 14 + JOB, name="new"), (("RemovePlacementGroup", {"group_id": b"h" * 14 + JOB}),)
    ),
    "RemovePlacementGroup": Row(
        {"group_id": GROUP}, (("CreatePlacementGroup", bundles(b"h" * 14 + JOB, name="group")),)
    ),
    "GetPlacementGroup": Row({"group_id": GROUP}),
    "WaitPlacementGroup": Row({"group_id": GROUP, "timeout_ms": 1}),
    "ListPlacementGroups": Row(),
    # Of a node that is not there, so that the answer does not wait for one.
    "AskNodes": Row({"query": b"?", "node_ids": [OTHER_NODE]}),
    "AnswerQuestion": Row({"key": b"k" * 16, "answer": b"late"}),
    "Watch": Row({"nodes": True, "jobs": True, "actor_ids": [ALIVE, b"?" * 16]}),
    "GetStatistics": Row(),
}


def shown(reply):
    """A reply without what counts calls rather than states."""
    return "" if isinstance(reply, control_pb2.GetStatisticsResponse) else reply


async def lost_request(control, name, encoded):
    """The first delivery never happens; the repetition does."""
    return [await control.call(name, encoded)]


async def lost_reply(control, name, encoded):
    """It was executed, nobody heard; the caller repeats, twice."""
    return [await control.call(name, encoded) for _ in range(3)]


async def duplicate_in_flight(control, name, encoded):
    """A second delivery while the first waits for its commit."""
    control.storage.held = True
    calls = [asyncio.ensure_future(control.call(name, encoded)) for _ in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    control.storage.held = False
    control.storage.release()
    return await asyncio.gather(*calls)


async def cancelled(control, name, encoded):
    """The caller gave up while it waited for the commit, then repeats."""
    control.storage.held = True
    call = asyncio.ensure_future(control.call(name, encoded))
    for _ in range(3):
        await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    control.storage.held = False
    control.storage.release()
    return [await control.call(name, encoded)]


FAULTS = {fault.__name__: fault for fault in (lost_request, lost_reply, duplicate_in_flight, cancelled)}


def test_every_rpc_has_a_row():
    assert set(ROWS) == set(METHODS)


def test_every_mutating_request_carries_an_id():
    """All but reads, the two that carry a number of their own, and a line, whose calls carry theirs."""
    exempt = {"Heartbeat", "ReportActor", "Watch", "WatchDemand", "Attach", "ClusterResources", "GetStatistics"}
    exempt |= {"AskNodes", "AnswerQuestion"}  # an answer repeats the question's key
    for name, method in METHODS.items():
        reads = name.startswith(("Get", "List", "Wait")) or name in ("KvGet", "KvKeys", "KvScan", "KvExists")
        assert ("request_id" in method.input_type.fields_by_name) == (not reads and name not in exempt), name


async def single(name):
    control = Control()
    await control.prepare(BEFORE)
    reply = await control.call(name, control.request(name, ROWS[name].fields))
    assert not isinstance(reply, str), reply
    return control, reply


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", sorted(METHODS))
def test_it_ends_as_a_single_call_does(name, fault):
    async def main():
        expected, reply = await single(name)
        control = Control()
        await control.prepare(BEFORE)
        replies = await FAULTS[fault](control, name, control.request(name, ROWS[name].fields))
        assert control.picture() == expected.picture()
        if name != "ReportActor":
            # A repeated report of a death is answered "not wanted" like the first: the row's state says it all.
            assert [shown(each) for each in replies] == [shown(reply)] * len(replies)

    asyncio.run(main())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_delivery_that_comes_after_later_calls_undoes_none_of_them(name):
    """Delayed, or overtaken after the caller gave up and went on."""

    async def main():
        expected, _ = await single(name)
        await expected.prepare(ROWS[name].then)
        control = Control()
        await control.prepare(BEFORE)
        encoded = control.request(name, ROWS[name].fields)
        await control.call(name, encoded)
        await control.prepare(ROWS[name].then)
        await control.call(name, encoded)
        assert control.picture() == expected.picture()

    asyncio.run(main())


@pytest.mark.parametrize("name", sorted(name for name in METHODS if name != "Watch"))
def test_no_reply_is_sent_before_what_it_shows_is_on_disk(name):
    """Reads included: what one caller saw, no crash may take back from another."""

    async def main():
        control = Control()
        await control.prepare(BEFORE)
        control.storage.held = True
        write = control.request("KvPut", {"namespace": "n", "key": b"key", "value": b"uncommitted", "overwrite": True})
        writing = asyncio.ensure_future(control.call("KvPut", write))
        await asyncio.sleep(0)
        call = asyncio.ensure_future(control.call(name, control.request(name, ROWS[name].fields)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not call.done()
        assert not writing.done()
        control.storage.held = False
        control.storage.release()
        await asyncio.gather(writing, call)

    asyncio.run(main())


def test_no_refusal_is_sent_before_what_it_shows_is_on_disk():
    """That a name is taken is as much news as that it is free."""

    async def main():
        control = Control()
        await control.prepare(BEFORE)
        control.storage.held = True
        first = control.request("CreateActor", creation(b"1" * 12 + JOB, name="taken"))
        second = control.request("CreateActor", creation(b"2" * 12 + JOB, name="taken"))
        calls = [asyncio.ensure_future(control.call("CreateActor", each)) for each in (first, second)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(call.done() for call in calls)
        control.storage.held = False
        control.storage.release()
        created, refused = await asyncio.gather(*calls)
        assert created.created
        assert refused.startswith("ALREADY_EXISTS")

    asyncio.run(main())


def test_a_call_on_a_line_ends_as_the_call_by_itself():
    """Every RPC that a line carries: the same reply, the same state."""

    async def main():
        for name in sorted(name for name in METHODS if not METHODS[name].server_streaming and name != "RegisterNode"):
            expected, reply = await single(name)
            control = Control()
            await control.prepare(BEFORE)
            call = control_pb2.LineCall(number=7, method=name, payload=control.request(name, ROWS[name].fields))
            answers = await control.call("Attach", control.request("Attach", {"node_id": NODE, "calls": [call]}))
            if name == "UnregisterNode":
                # The line of a dead node ends, and nobody is left to read a reply.
                assert answers == []
            else:
                (said,) = [reply for answer in answers for reply in answer.replies]
                assert said.number == 7
                assert shown(type(reply).FromString(said.payload)) == shown(reply), name
            assert control.picture() == expected.picture(), name

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "payload", "text"),
    [
        ("Nothing", b"", "'Nothing' is no RPC for a node's line"),
        ("Watch", b"", "'Watch' is no RPC for a node's line"),
        ("RegisterNode", b"", "'RegisterNode' is no RPC for a node's line"),
        ("KvPut", b"\xff\xff", "the payload of 2 bytes is no KvPut request"),
        ("KvPut", b"", "request_id must have 16 bytes"),
    ],
)
def test_a_wrong_call_on_a_line_is_refused_by_itself(method, payload, text):
    """The calls beside it are answered."""

    async def main():
        control = Control()
        await control.prepare(BEFORE)
        wrong = control_pb2.LineCall(number=1, method=method, payload=payload)
        right = line_call(2, "KvExists", namespace="n", key=b"key")
        (answer,) = await control.call("Attach", control.request("Attach", {"node_id": NODE, "calls": [wrong, right]}))
        assert [reply.number for reply in answer.replies] == [1, 2]
        assert text in answer.replies[0].error.message
        assert control_pb2.KvExistsResponse.FromString(answer.replies[1].payload).exists

    asyncio.run(main())


def test_a_node_that_did_not_register_gets_no_line():
    async def main():
        control = Control()
        refusal = await control.call("Attach", control.request("Attach", {"node_id": OTHER_NODE}))
        assert refusal == f"NOT_FOUND: node {OTHER_NODE.hex()} is not registered; register it"

    asyncio.run(main())
