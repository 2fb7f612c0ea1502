"""Arrays travel out of band: not copied when they are read, and read-only then."""

import pickle

import pytest

np = pytest.importorskip("numpy")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from manta import serde  # noqa: E402


def there_and_back(value):
    return serde.deserialize(serde.to_bytes(serde.serialize(value)))


DTYPES = ["?", "u1", "i2", ">i4", "i8", "f2", "f4", "f8", "c16", "S5", "U3", "M8[ns]", "m8[s]", "i4,f8", "V7"]
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(st.sampled_from(DTYPES), shapes, st.sampled_from("CF"), st.integers(0, 255))
def test_every_type_shape_and_order_comes_back_equal_and_read_only(dtype, shape, order, byte):
    array = np.frombuffer(bytes([byte % 2]) * 64 * 512, dtype=np.uint8)[
        : int(np.prod(shape)) * np.dtype(dtype).itemsize
    ]
    array = np.array(array.view(dtype).reshape(shape), order=order)
    back = there_and_back(array)

    assert (back.dtype, back.shape, back.tobytes("A")) == (array.dtype, array.shape, array.tobytes("A"))
    assert back.flags.f_contiguous == array.flags.f_contiguous
    buffers = []
    pickle.dumps(array, 5, buffer_callback=buffers.append)  # numpy itself keeps dates and records in band
    assert not (buffers and back.flags.writeable)


@pytest.mark.parametrize("cut", [np.s_[::2], np.s_[:, 1], np.s_[1:3, 1:3], np.s_[::-1]])
def test_parts_of_arrays_come_back_equal(cut):
    part = np.arange(36).reshape(6, 6)[cut]
    assert (there_and_back(part) == part).all()


def test_small_arrays_are_read_only_as_well():
    """Else a program would write to its arguments until they grow past the inline size, and fail then."""
    back = there_and_back(np.arange(3))
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


def test_an_array_is_a_view_of_the_bytes_it_came_in():
    array = np.arange(1000)
    data = bytearray(serde.to_bytes(serde.serialize({"a": array, "same": array})))
    back = serde.deserialize(data)
    data[-array.nbytes :] = bytes(array.nbytes)

    assert not back["a"].any()
    assert back["a"] is back["same"]


def test_arrays_are_aligned_when_the_bytes_are():
    target = np.zeros(4096, dtype=np.uint8)
    skip = -target.ctypes.data % 64
    view = memoryview(target)[skip : skip + 2048]
    serde.write_into(serde.serialize([np.arange(3), np.arange(5.0)]), view)

    assert [array.ctypes.data % 64 for array in serde.deserialize(view)] == [0, 0]


def test_an_array_of_objects_and_scalars_come_back():
    assert list(there_and_back(np.array([1, "a", None], dtype=object))) == [1, "a", None]
    assert there_and_back(np.float32(1.5)) == np.float32(1.5)
    assert there_and_back(np.ma.array([1, 2], mask=[True, False])).mask.tolist() == [True, False]


def test_an_array_captured_by_a_function_is_the_workers_own():
    """As its other globals are: a function that counts in a captured array works remotely as it does here."""
    counts = np.zeros(20_000)

    def count():
        counts[0] += 1
        return counts[0]

    assert serde.load_function(serde.dump_function(count).blob)() == 1.0
    assert counts[0] == 0.0
