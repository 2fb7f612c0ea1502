import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core import ids
from manta.core.ids import (
    ActorCallIds,
    ActorClassID,
    ActorID,
    FunctionID,
    IdMaker,
    JobID,
    NodeID,
    ObjectID,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)

SIZES = {
    JobID: 4,
    ActorID: 16,
    TaskID: 24,
    ObjectID: 28,
    NodeID: 28,
    WorkerID: 28,
    UniqueID: 28,
    FunctionID: 28,
    ActorClassID: 28,
    PlacementGroupID: 18,
}
EVERY = pytest.mark.parametrize("kind", SIZES, ids=lambda kind: kind.__name__)
JOB = JobID.from_int(7).binary()
PREFIX = b"\xff" * 12


@EVERY
def test_an_id_has_the_size_and_the_text_that_users_know(kind):
    some = kind(b"\xab" * SIZES[kind])

    assert kind.size() == SIZES[kind]
    assert repr(some) == str(some) == f"{kind.__name__}({'ab' * SIZES[kind]})"
    assert some.hex() == "ab" * SIZES[kind]
    assert some.binary() == b"\xab" * SIZES[kind]


@EVERY
def test_an_id_comes_back_from_its_bytes_its_hex_and_a_pickle(kind):
    some = kind.from_random()

    assert kind.from_binary(some.binary()) == some
    assert kind.from_hex(some.hex()) == some
    assert pickle.loads(pickle.dumps(some)) == some
    assert {some: 1}[kind(some.binary())] == 1


@EVERY
def test_nil_is_all_ones_and_nothing_else_is_nil(kind):
    assert kind.nil().binary() == b"\xff" * SIZES[kind]
    assert kind.nil().is_nil()
    assert not kind(b"\0" * SIZES[kind]).is_nil()


@EVERY
@pytest.mark.parametrize("length", [0, 3, 100])
def test_bytes_of_another_length_are_refused_with_both_lengths(kind, length):
    with pytest.raises(ValueError, match=rf"needs to have length {SIZES[kind]}, got {length}.*{kind.__name__}"):
        kind(b"x" * length)


@EVERY
@pytest.mark.parametrize("text", ["zz", "", "ab", "g" * 56, "ab " * 100, "é"])
def test_text_that_is_no_id_is_refused(kind, text):
    """Ray logs and gives the nil id instead, which then looks for an object that cannot be."""
    with pytest.raises(ValueError, match=f"{2 * SIZES[kind]} hexadecimal digits"):
        kind.from_hex(text)


def test_spaces_are_no_digits():
    with pytest.raises(ValueError, match="8 hexadecimal digits"):
        JobID.from_hex("01 02 03")


@EVERY
@pytest.mark.parametrize("wrong", ["text", 3, None, bytearray(28)])
def test_only_bytes_make_an_id(kind, wrong):
    with pytest.raises(TypeError, match="expected bytes"):
        kind(wrong)


def test_equality_knows_the_type():
    assert NodeID(b"\1" * 28) != WorkerID(b"\1" * 28)
    assert NodeID(b"\1" * 28) != b"\1" * 28
    assert len({NodeID(b"\1" * 28), WorkerID(b"\1" * 28), UniqueID(b"\1" * 28)}) == 3


def test_longer_ids_tell_the_shorter_ones_in_them():
    maker = IdMaker(JOB, b"owner-prefix")
    actor = ActorID(maker.actor())
    call = TaskID(ActorCallIds(actor.binary()).next())
    value = ObjectID(ids.return_id(call.binary(), 3))

    assert actor.job_id == call.job_id() == value.job_id() == JobID.from_int(7)
    assert call.actor_id() == actor
    assert value.task_id() == call
    assert ids.index_of_object(value.binary()) == 3
    assert TaskID.for_actor_creation_task(actor).hex() == "ff" * 8 + actor.hex()
    assert PlacementGroupID.of(JobID.from_int(7)).job_id().int() == 7


def test_a_drivers_first_put_is_written_as_users_have_seen_it():
    assert IdMaker(JobID.from_int(1).binary(), PREFIX).put().hex() == "00" + "ff" * 19 + "01000000" + "01000000"


def test_a_drivers_first_task_ends_in_ones_and_its_job():
    assert IdMaker(JOB, PREFIX).task().hex() == "0100000000000000" + "ff" * 12 + "07000000"


@given(st.integers(0, 2000))
def test_return_ids_number_from_one(number):
    task = b"t" * 24

    assert ids.return_ids(task, number) == [ids.return_id(task, index) for index in range(1, number + 1)]


# Owners that would meet if anything could: few prefixes, few actors, counters just below their limits.
PREFIXES = st.sampled_from([PREFIX, b"\0" * 12, b"\1" * 12])
COUNTS = st.sampled_from([1, 0xFF, 0x100, 2**24 - 2, 2**32 - 2, 2**33 - 1, 2**40 - 2, 2**55])


@given(st.lists(st.tuples(PREFIXES, COUNTS, COUNTS), max_size=6, unique_by=lambda made: made[0]))
def test_no_two_objects_of_a_job_have_one_id(owners):
    """Tasks, puts and calls of several owners, wherever their counters stand."""
    tasks, puts = [], []
    for prefix, tasks_from, puts_from in owners:
        maker = IdMaker(JOB, prefix)
        maker._tasks = ids.count(tasks_from)
        maker._puts = ids.count(puts_from)
        tasks += [maker.task() for _ in range(20)]
        puts += [maker.put() for _ in range(20)]
        calls = ActorCallIds(maker.actor())
        tasks += [calls.next() for _ in range(20)]
    objects = [object_id for task in tasks for object_id in ids.return_ids(task, 3)] + puts

    assert len(set(objects)) == len(objects)
    assert {len(object_id) for object_id in objects} <= {28}
    assert all(ids.is_put(object_id) for object_id in puts)
    assert {ids.job_of_object(object_id) for object_id in objects} <= {JOB}


def test_no_task_of_an_owner_looks_like_a_put():
    maker = IdMaker(JOB, PREFIX)

    assert not any(ids.is_put(ids.return_id(maker.task(), 1)) for _ in range(1000))


def test_a_caller_draws_new_bytes_when_its_counter_is_used_up():
    calls = ActorCallIds(b"a" * 16)
    calls._calls = ids.count(2**24 - 1)
    last, first = calls.next(), calls.next()

    assert last[5:8] == b"\xff\xff\xff"
    assert first[5:8] == b"\0\0\0"
    assert last[:5] != first[:5]
    assert last[8:] == first[8:] == b"a" * 16


def test_threads_that_share_a_maker_never_share_an_id():
    maker, calls = IdMaker(JOB, PREFIX), ActorCallIds(b"a" * 16)
    calls._calls = ids.count(2**24 - 2000)  # they roll over together
    made: list[bytes] = []

    def make() -> None:
        made.extend([make_id() for _ in range(1000) for make_id in (maker.task, maker.put, calls.next)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(made)) == len(made) == 12_000


@pytest.mark.parametrize(("job", "prefix"), [(b"", PREFIX), (JOB, b"short")])
def test_a_maker_refuses_parts_of_a_wrong_size(job, prefix):
    with pytest.raises(ValueError, match="bytes, got"):
        IdMaker(job, prefix)
