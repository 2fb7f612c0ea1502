"""Objects move from a node that is drained: another keeps them, their owners know, and nothing is lost on the way."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from manta.rpc.v1 import channel_pb2 as pb
from tests.support.stores import MIB, Process, several
from tests.unit.raylet.test_transfers import in_a_loop, no_descriptor_is_lost, oid, until  # noqa: F401


def know(*nodes, without=()):
    """Every node knows that all others take objects."""
    for one in nodes:
        for other in nodes:
            one.exchange.moving.seen(other.node_id, draining=other in without)


async def made(owner, maker, number, mib=1):
    """An object that a process has made for one of another node."""
    maker.say(pb.OwnerElsewhere(worker_id=owner.client.worker_id, node_id=owner.node.node_id))
    data = os.urandom(mib * MIB)
    await maker.put(oid(number), data, owner=owner.client.worker_id)
    return data


def known(told, *, moved=False, gone=False):
    """What an owner answers to an ObjectMoved."""
    return pb.MoveKnown(node_id=told.node_id, object_id=told.object_id, number=told.number, moved=moved, gone=gone)


async def asked(owner, *, moved=True, gone=False):
    """The owner hears that an object has moved, and answers."""
    told = await owner.next(pb.ObjectMoved)
    owner.say(known(told, moved=moved, gone=gone))
    return told


async def drained(node, until_what: Callable[[], bool]) -> None:
    """Look again and again, as a node that is drained does."""

    def holds() -> bool:
        node.exchange.moving.look()
        return until_what()

    await until(holds)


def check(*nodes):
    for node in nodes:
        node.objects.table.validate()
        node.exchange.moving.giving.validate()
        node.exchange.moving.taking.validate()
        node.exchange.neighbours.far.validate()


@in_a_loop
async def test_an_object_moves_to_where_its_owner_lives_and_is_only_a_copy_here_then():
    """The owner frees it at its new place, and the old copy goes too."""
    async with several(3, 64 * MIB) as (a, b, c):
        know(a, b, c, without=[b])
        owner, maker = Process(a), Process(b)
        data = await made(owner, maker, 1, 3)
        b.exchange.moving.look()
        told = await asked(owner)
        assert (told.node_id, list(told.former)) == (a.node_id, [b.node_id])
        await drained(b, lambda: b.objects.table.primaries() == (0, 0))
        assert a.objects.table.primaries() == (1, len(data))
        assert await Process(c).get(oid(1), len(data), a) == data
        assert await Process(c).get(oid(1), len(data), b) == data
        check(a, b, c)
        owner.say(pb.FreeObjects(object_ids=[oid(1)]))
        await until(lambda: not any(node.store()["objects"] for node in (a, b, c)))


@in_a_loop
async def test_until_its_owner_knows_the_new_place_the_old_one_is_kept():
    """An owner that has not heard of it at all yet is asked again."""
    async with several(2, 64 * MIB) as (a, b):
        know(a, b, without=[b])
        owner, maker = Process(a), Process(b)
        await made(owner, maker, 1)
        b.exchange.moving.look()
        told = await owner.next(pb.ObjectMoved)
        assert b.objects.table.primaries()[0] == 1
        owner.say(known(told))
        await drained(b, lambda: any(isinstance(message, pb.ObjectMoved) for message in owner.inbox))
        assert (a.objects.table.primaries()[0], b.objects.table.primaries()[0]) == (1, 1)
        await asked(owner)
        await drained(b, lambda: b.objects.table.primaries()[0] == 0)
        assert a.objects.table.primaries()[0] == 1
        check(a, b)


@in_a_loop
async def test_what_nobody_refers_to_any_more_is_freed_on_both_sides():
    """Whether its owner says so when it is asked, or has said so while it was on its way, or is dead."""
    async with several(2, 64 * MIB) as (a, b):
        know(a, b, without=[b])
        owner, other, maker = Process(a), Process(a), Process(b)
        await made(owner, maker, 1)
        await made(owner, maker, 2)
        await made(other, maker, 3)
        b.exchange.moving.look()
        owner.say(pb.FreeObjects(object_ids=[oid(2)], node_id=b.node_id))
        await until(lambda: any(isinstance(message, pb.ObjectMoved) for message in other.inbox))
        other.die()

        def all_gone() -> bool:
            for message in [message for message in owner.inbox if isinstance(message, pb.ObjectMoved)]:
                owner.inbox.remove(message)
                owner.say(known(message, gone=True))
            return not a.store()["objects"] and not b.store()["objects"]

        await drained(b, all_gone)
        await until(lambda: a.store()["objects_being_taken"] == 0)
        check(a, b)


@in_a_loop
async def test_what_has_no_place_anywhere_stays_and_is_counted():
    """With a reason, and it goes once there is room; what belongs to a process of this very node stays in any case."""
    async with several(2, 24 * MIB) as (a, b):
        know(a, b, without=[b])
        owner, maker, local = Process(a), Process(b), Process(b)
        await local.put(oid(9), b"x" * MIB)
        await made(owner, maker, 1, 6)
        await owner.put(oid(2), b"x" * (20 * MIB))
        await drained(b, lambda: b.exchange.moving.giving.stuck()[0] == 1)
        count, size, reason = b.exchange.moving.giving.stuck()
        assert (count, size) == (1, 6 * MIB)
        assert "bytes are needed" in reason
        owner.say(pb.FreeObjects(object_ids=[oid(2)]))
        await drained(b, lambda: any(isinstance(message, pb.ObjectMoved) for message in owner.inbox))
        await asked(owner)
        await drained(b, lambda: b.objects.table.primaries() == (1, MIB))
        assert b.exchange.moving.giving.stuck() == (0, 0, "")
        check(a, b)


@in_a_loop
async def test_a_taker_that_dies_is_replaced_and_the_owner_hears_of_both():
    """The owner may have been told by the dead one that it is there."""
    async with several(3, 64 * MIB) as (a, b, c):
        know(a, b, c, without=[a, b])
        owner, maker = Process(a), Process(b)
        await made(owner, maker, 1)
        b.exchange.moving.look()
        told = await owner.next(pb.ObjectMoved)
        assert told.node_id == c.node_id
        c.exchange.neighbours.close()
        for node in (a, b):
            node.exchange.neighbours.gone(c.node_id, "killed")
        b.exchange.moving.look()
        assert b.objects.table.primaries()[0] == 1
        a.exchange.moving.seen(a.node_id, draining=False)
        b.exchange.moving.seen(a.node_id, draining=False)
        b.exchange.moving.giving._items[oid(1)].not_before = 0
        b.exchange.moving.look()
        told = await asked(owner)
        assert (told.node_id, list(told.former)) == (a.node_id, [b.node_id, c.node_id])
        await drained(b, lambda: b.objects.table.primaries()[0] == 0)
        check(a, b)


@in_a_loop
async def test_a_giver_that_dies_after_its_object_was_fetched_has_lost_nothing():
    """The one that has it asks the owner all the same."""
    async with several(3, 64 * MIB) as (a, b, c):
        know(a, b, c, without=[a, b])
        owner, maker = Process(a), Process(b)
        data = await made(owner, maker, 1)
        b.exchange.moving.look()
        told = await owner.next(pb.ObjectMoved)
        b.exchange.neighbours.close()
        for node in (a, c):
            node.exchange.neighbours.gone(b.node_id, "killed")
        owner.say(known(told, moved=True))
        await until(lambda: c.store()["objects_being_taken"] == 0)
        assert c.objects.table.primaries() == (1, len(data))
        check(a, c)


@pytest.mark.parametrize("which", ["giver to taker", "taker to owner"])
@in_a_loop
async def test_what_was_under_way_when_a_link_broke_is_said_again(which):
    async with several(3, 64 * MIB) as (a, b, c):
        know(a, b, c, without=[a, b])
        owner, maker = Process(a), Process(b)
        await made(owner, maker, 1)
        b.exchange.moving.look()
        told = await owner.next(pb.ObjectMoved)
        here, there = (b, c) if which == "giver to taker" else (c, a)
        here.exchange.neighbours._links[there.node_id].close("broken by the test")
        owner.say(known(told, moved=True))
        if which == "taker to owner":
            await asked(owner)
        else:
            # The answer had no way back: the offer comes again, and the owner is asked again.
            await asked(owner)
        await drained(b, lambda: b.objects.table.primaries()[0] == 0)
        assert c.objects.table.primaries()[0] == 1
        check(a, b, c)


@in_a_loop
async def test_two_nodes_that_are_drained_at_once_give_nothing_to_each_other():
    async with several(3, 64 * MIB) as (a, b, c):
        know(a, b, c, without=[b, c])
        owner, one, two = Process(a), Process(b), Process(c)
        for number in range(1, 5):
            await made(owner, one, number)
            await made(owner, two, 10 + number)

        async def answers() -> None:
            for _ in range(8):
                await asked(owner)

        b.exchange.moving.look()
        c.exchange.moving.look()
        await answers()
        for node in (b, c):
            await drained(node, lambda node=node: node.objects.table.primaries()[0] == 0)
        assert a.objects.table.primaries()[0] == 8
        check(a, b, c)


@in_a_loop
async def test_a_reader_on_the_drained_node_finds_what_has_moved_and_was_evicted_there():
    async with several(2, 24 * MIB) as (a, b):
        know(a, b, without=[b])
        owner, maker = Process(a), Process(b)
        data = await made(owner, maker, 1, 6)
        b.exchange.moving.look()
        await asked(owner)
        await drained(b, lambda: b.objects.table.primaries()[0] == 0)
        await maker.put(oid(5), b"x" * (20 * MIB))
        assert not b.objects.table.has(oid(1))
        maker.say(pb.FreeObjects(object_ids=[oid(5)]))
        maker.say(pb.GetObjects(request_id=77, object_ids=[oid(1)]))
        ready = await maker.next(pb.ObjectsReady)
        assert bytes(b.arena.mapping.create_view(ready.offsets[0], ready.sizes[0])) == data
        check(a, b)


@in_a_loop
async def test_an_owner_hears_who_fetches_its_objects_and_can_have_a_copy_kept():
    """Who has one makes it the first and says so; who has none says that, on the owner's own node as elsewhere."""
    async with several(3, 32 * MIB) as (a, b, c):
        know(a, b, c)
        owner, maker, reader = Process(a), Process(b), Process(c)
        data = await made(owner, maker, 1)
        for _ in range(2):
            assert await reader.get(oid(1), len(data), b) == data
        told = await owner.next(pb.ObjectsCopied)
        assert (told.object_ids, told.node_id, told.gone) == ([oid(1)], c.node_id, False)
        assert not [message for message in owner.inbox if isinstance(message, pb.ObjectsCopied)], "it is said once"
        owner.say(pb.SaveCopy(object_id=oid(1), size=len(data), node_id=c.node_id, dead_node=b.node_id))
        assert (await asked(owner)).node_id == c.node_id
        await until(lambda: not len(a.exchange.moving.saving))
        assert c.objects.table.primaries() == (1, len(data))
        owner.say(pb.FreeObjects(object_ids=[oid(1)], node_id=c.node_id))
        await until(lambda: not c.store()["objects"])

        for node in (a, c):
            owner.say(pb.SaveCopy(object_id=oid(2), size=100, node_id=node.node_id, dead_node=b.node_id))
            told = await owner.next(pb.ObjectsCopied)
            assert (told.object_ids, told.node_id, told.gone) == ([oid(2)], node.node_id, True)
        a.exchange.neighbours.gone(b.node_id, "it crashed")
        owner.say(pb.GetObjects(request_id=9, object_ids=[oid(2)]))
        ready = await owner.next(pb.ObjectsReady)
        assert (ready.request_id, ready.error.code) == (9, "OBJECT_LOST"), "it waits for nothing here"
        assert "it crashed" in ready.error.message
        check(a, b, c)
