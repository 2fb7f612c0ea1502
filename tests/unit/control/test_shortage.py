"""What control takes on, and what it answers, while its store has no room."""

import asyncio

import pytest
from google.protobuf.message_factory import GetMessageClass

from manta.control.model import Instant
from manta.control.services.shortage import BEGINS, HELD, WRITES, check, insists
from manta.control.state import ControlState, Stored
from manta.control.storage import Shortage
from manta.core.errors import StorageUnwritableError
from tests.unit.control.handlers import METHODS, Control

ERROR = StorageUnwritableError("/state/store", "its disk is full", 4096)
SCARCE, STUCK = Shortage(ERROR, stuck=False), Shortage(ERROR, stuck=True)


def refused(shortage):
    """Names of what is refused, each with an empty request."""
    state = ControlState(Stored(), Instant(0.0))
    names = set()
    for name, method in METHODS.items():
        try:
            check(shortage, name, GetMessageClass(method.input_type)(), state)
        except StorageUnwritableError:
            names.add(name)
    return names


def test_what_begins_is_refused_in_need_and_what_writes_when_nothing_can_be_written():
    assert refused(SCARCE) == BEGINS
    assert refused(STUCK) == WRITES


def test_what_writes_is_what_is_remembered_and_what_is_reported():
    """A new RPC that only reads needs no row here; one that writes has a request id, and has to be thought about."""
    assert sorted(WRITES - BEGINS) == [
        "ActorDependenciesReady", "DrainNode", "FinishJob", "KillActor", "KvDel", "RegisterNode", "ReleaseActor",
        "RemovePlacementGroup", "ReportActor", "ReportWorkersDied", "UnregisterNode",
    ]  # fmt: skip
    assert HELD - WRITES == {"WaitPlacementGroup"}


def test_heartbeats_and_reads_do_not_insist_on_the_disk():
    assert not insists("Heartbeat", STUCK)
    assert not insists("GetNamedActor", None)
    assert insists("KvPut", STUCK)
    assert insists("RegisterNode", None)
    assert not insists("RegisterNode", STUCK), "it was let in as a node that is known already"


def test_an_owner_that_announces_its_actor_again_is_heard():
    state = ControlState(Stored(), Instant(0.0))
    request = GetMessageClass(METHODS["CreateActor"].input_type)()
    request.known.incarnation = 1
    check(STUCK, "CreateActor", request, state)


def test_what_was_decided_before_is_waited_for_and_not_refused_when_it_is_repeated():
    """New ones are refused meanwhile, reads are answered, and who waited is answered when there is room."""

    async def main():
        control = Control()
        await control.prepare([("KvPut", {"namespace": "n", "key": b"a", "value": b"1"})])
        control.storage.held = True
        under_way = control.request("KvPut", {"namespace": "n", "key": b"b", "value": b"2"})
        first = asyncio.create_task(control.call("KvPut", under_way))
        read = asyncio.create_task(control.call("KvGet", control.request("KvGet", {"namespace": "n", "key": b"a"})))
        await asyncio.sleep(0)
        assert not read.done(), "there might be room"
        control.runner._store_short(STUCK)
        assert (await read).value == b"1"
        again = asyncio.create_task(control.call("KvPut", under_way))
        other = await control.call("KvPut", control.request("KvPut", {"namespace": "n", "key": b"c"}))
        assert other == f"RESOURCE_EXHAUSTED: {ERROR}"
        assert not first.done()
        assert not again.done()
        control.storage.release()
        control.runner._store_short(None)
        assert (await first).added
        assert (await again).added
        assert sorted(control.state.kv.keys("n")) == [b"a", b"b"]

    asyncio.run(main())


def test_a_store_that_is_full_at_the_start_is_a_failure():
    """The number of the start has to be on disk before anybody hears of it."""

    async def main():
        control = Control()
        control.storage._committed = 0
        control.runner._store_short(STUCK)
        with pytest.raises(StorageUnwritableError):
            await control.runner.failure

    asyncio.run(main())
