"""Values come back equal, with their identities, through `serialize` and `deserialize`."""

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import pickle
import threading
import typing
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta import serde
from manta.core.errors import SerializationError
from manta.serde import value as value_module


def there_and_back(value):
    """Through both ways of writing; they agree byte for byte."""
    serialized = serde.serialize(value)
    data = serde.to_bytes(serialized)
    target = bytearray(b"\xff" * (serde.total_size(serialized) + 3))
    assert serde.write_into(serialized, memoryview(target)) == len(data) == serialized.size
    assert bytes(target[:-3]) == data
    assert bytes(target[-3:]) == b"\xff\xff\xff"
    return serde.deserialize(data)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
hashables = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5
)
values = st.recursive(
    scalars | st.dates() | st.decimals(allow_nan=False) | st.uuids() | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(hashables, inner, max_size=5)
        | st.sets(hashables, max_size=5)
        | inner.map(lambda item: collections.deque([item]))
    ),
    max_leaves=25,
)


@given(values)
def test_nested_containers_come_back_equal(value):
    assert there_and_back(value) == value


@given(values, st.binary(min_size=1, max_size=300))
def test_buffers_do_not_disturb_what_is_around_them(value, content):
    back = there_and_back([value, pickle.PickleBuffer(content), value])

    assert back[0] == value == back[2]
    assert back[1] == content


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_every_buffer_starts_at_a_multiple_of_64_and_is_read_only(contents):
    """64 bytes is a cache line; a reader that maps the value at such an address may rely on it."""
    serialized = serde.serialize([pickle.PickleBuffer(content) for content in contents])
    position, starts = 0, {}
    for chunk in serialized.chunks:
        starts[position] = chunk
        position += len(chunk)
    views = [start for start, chunk in starts.items() if isinstance(chunk, memoryview) and len(chunk)]
    back = serde.deserialize(serde.to_bytes(serialized))

    assert [start % serde.ALIGNMENT for start in views] == [0] * len(views)
    assert [bytes(buffer) for buffer in back] == contents
    assert all(memoryview(buffer).readonly for buffer in back)


def test_shared_references_and_cycles_keep_their_shape():
    shared = [1]
    cycle = [shared, shared, {"again": shared}]
    cycle.append(cycle)
    back = there_and_back(cycle)

    assert back[0] is back[1] is back[2]["again"]
    assert back[3] is back


def test_a_value_without_buffers_is_nothing_but_its_pickle_stream():
    """No header: the common small value pays for none."""
    value = ((1, "a"), {})
    assert serde.to_bytes(serde.serialize(value)) == pickle.dumps(value, 5)
    assert serde.deserialize(memoryview(pickle.dumps(value, 5))) == value


def test_values_larger_than_a_frame_come_in_pieces_that_are_not_copied():
    """Large bytes are handed on as the very object; a copy of 100 MB costs 30 ms."""
    large = bytes(1_000_000)
    serialized = serde.serialize({"key": large, "rest": list(range(100_000))})

    assert any(chunk is large for chunk in serialized.chunks)
    assert there_and_back({"key": large}) == {"key": large}


def test_large_chunks_and_no_others_go_through_the_copy_that_is_passed_in():
    copied = []

    def copy(target: memoryview, source: memoryview) -> None:
        copied.append(len(target))
        target[:] = source

    large = bytes(2 << 20)
    serialized = serde.serialize([large, b"small", pickle.PickleBuffer(large), pickle.PickleBuffer(b"tiny")])
    target = bytearray(serialized.size)
    serde.write_into(serialized, memoryview(target), copy)

    assert copied == [2 << 20, 2 << 20]
    assert serde.deserialize(target)[:2] == [large, b"small"]


def test_a_target_that_is_too_short_is_refused_before_anything_is_written():
    target = bytearray(b"\xff" * 10)
    with pytest.raises(ValueError, match="target has 10 bytes, the value takes"):
        serde.write_into(serde.serialize("a" * 100), memoryview(target))
    assert target == b"\xff" * 10


def test_buffers_handed_out_keep_the_bytes_alive_and_are_slices_of_them():
    data = bytearray(serde.to_bytes(serde.serialize(pickle.PickleBuffer(b"0123456789" * 10))))
    back = serde.deserialize(data)
    data[-10:] = b"abcdefghij"

    assert bytes(back[-10:]) == b"abcdefghij"
    with pytest.raises(BufferError):  # exported: it can't be resized away under its reader
        data.clear()


class Point(typing.NamedTuple):
    x: int
    y: int


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Record:
    name: str
    tags: list


@pytest.mark.parametrize(
    "value",
    [
        Point(1, 2),
        Color.RED,
        Record("a", ["b"]),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        decimal.Decimal("1.5"),
        range(3),
        slice(1, 2, None),
        ...,
        NotImplemented,
        1 + 2j,
        int,
        type(None),
        len,
        functools.partial(int, base=2).args,
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        collections.defaultdict(list, a=[1]),
        {1: 2}.keys().__class__.__name__,
    ],
)
def test_ordinary_objects_come_back_equal(value):
    assert there_and_back(value) == value


def test_a_reduce_that_serializes_in_turn_does_not_disturb_the_value_around_it():
    """Submitting a task from inside `__reduce__` is the user's right."""
    inner = []

    class Nosy:
        def __reduce__(self):
            inner.append(serde.to_bytes(serde.serialize([1, [2], pickle.PickleBuffer(b"inner")])))
            return int, ("7",)

    shared = ["shared"]
    assert there_and_back([shared, Nosy(), shared]) == [["shared"], 7, ["shared"]]
    assert [1, [2], b"inner"] == serde.deserialize(inner[0])


def test_threads_do_not_mix_their_values():
    start = threading.Barrier(4)

    def work(number: int) -> list:
        start.wait(10)
        return [there_and_back([number, {"i": i}, Record(str(number), [i])]) for i in range(300)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))

    assert results == [[[n, {"i": i}, Record(str(n), [i])] for i in range(300)] for n in range(4)]


def test_a_failure_leaves_nothing_behind_in_the_next_value():
    for _ in range(3):
        with pytest.raises(SerializationError):
            serde.serialize([pickle.PickleBuffer(b"lost"), "text", threading.Lock()])
        assert there_and_back(["clean"]) == ["clean"]


def test_nothing_of_a_value_is_kept_once_it_is_serialized():
    """A pickler that is used again must not hold the last value's objects in its memo."""
    import weakref

    record = Record("a", [])
    gone = weakref.ref(record)
    serde.serialize([record])
    del record

    assert gone() is None


def test_a_pickler_that_grew_is_not_kept():
    serde.serialize(1)
    serde.serialize([[i] for i in range(50_000)])

    assert all(len(pickler.parts) == 0 for pickler in value_module._idle)
    assert there_and_back([1]) == [1]


@pytest.mark.parametrize("value", [bytes(5000), [bytes(3000), pickle.PickleBuffer(bytes(3000))], list(range(5000))])
def test_a_limit_stops_a_value_and_its_buffers(value):
    with pytest.raises(SerializationError, match="too large: it comes to more than 4000 bytes"):
        serde.serialize(value, limit=4000)
    assert serde.serialize(value, limit=100_000).size == serde.serialize(value).size


def test_a_value_that_is_nested_too_deeply_is_refused_with_a_way_out():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    try:
        with pytest.raises(SerializationError, match=r"nested too deeply.*recursion limit.*flatten it"):
            serde.serialize(nested)
    finally:
        while nested:  # a chain this long must not be collected by recursion
            nested = nested.pop()
