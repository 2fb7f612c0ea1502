"""What control takes on, and what it answers, while its store has no room."""

import asyncio

import pytest
from google.protobuf.message_factory import GetMessageClass

from manta.control.commands import Table
from manta.control.errors import NoRoomForStoreError
from manta.control.model import Instant
from manta.control.services.shortage import BEGINS, HELD, WRITES, check, insists
from manta.control.state import CLUSTER_ID, EPOCH, ControlState, Stored
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
    assert refused(STUCK) == WRITES - {"RegisterNode"}, "a node says that it is there to each control anew"


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
    assert not insists("RegisterNode", STUCK), "it was let in"


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


def started(stored):
    """A control that was opened on a store, and has not written anything yet."""
    control = Control(stored=stored)
    control.storage._committed = 0
    return control


def test_a_new_store_on_a_full_disk_is_a_failure():
    """There is nothing to go on with, and nobody could ever find this cluster again."""

    async def main():
        control = started(Stored())
        control.runner._store_short(STUCK)
        with pytest.raises(NoRoomForStoreError, match="its disk is full \\(4096 bytes are free\\)") as refused:
            await control.runner.failure
        assert (refused.value.path, refused.value.free_bytes) == ("/state/store", 4096)

    asyncio.run(main())


def test_a_start_whose_number_cannot_be_written_has_one_that_no_other_start_will_have():
    """The next one reads the same old number; what was told by the one is not continued by the other."""

    async def main():
        epochs = set()
        for _ in range(20):
            control = started(Stored(meta={CLUSTER_ID: b"c" * 16, EPOCH: 7}))
            control.runner._store_short(STUCK)
            control.runner._store_short(STUCK)
            assert not control.runner.failure.done()
            assert control.state.epoch > 8
            assert control.storage._records[Table.META, EPOCH] == str(control.state.epoch).encode()
            epochs.add(control.state.epoch)
        assert len(epochs) == 20
        control = started(Stored(meta={CLUSTER_ID: b"c" * 16, EPOCH: 7}))
        assert control.state.epoch == 8

    asyncio.run(main())
