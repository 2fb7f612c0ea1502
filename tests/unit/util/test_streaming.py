"""`as_completed` and `map_unordered`: mistakes are told where they are made, before anything is submitted."""

import pytest

from manta.util import as_completed, map_unordered


class Untouched:
    """Fails the test when it is used."""

    def __iter__(self):
        raise AssertionError

    def remote(self, item):
        raise AssertionError


@pytest.mark.parametrize("chunk_size", [0, -1])
def test_a_chunk_is_at_least_one(chunk_size):
    with pytest.raises(ValueError, match="chunk_size"):
        as_completed([], chunk_size=chunk_size)
    with pytest.raises(ValueError, match="chunk_size"):
        map_unordered(Untouched(), Untouched(), chunk_size=chunk_size)


@pytest.mark.parametrize("backpressure_size", [0, -3])
def test_something_has_to_be_under_way(backpressure_size):
    with pytest.raises(ValueError, match="backpressure_size must be positive"):
        map_unordered(Untouched(), Untouched(), backpressure_size=backpressure_size)


def test_num_returns_is_called_chunk_size():
    with pytest.raises(ValueError, match="chunk_size"):
        as_completed([], num_returns=2)
    with pytest.raises(ValueError, match="chunk_size"):
        map_unordered(Untouched(), Untouched(), num_returns=2)


def test_nothing_is_submitted_before_the_first_result_is_wanted():
    map_unordered(Untouched(), Untouched())


def test_of_nothing_there_is_nothing_and_no_cluster_is_needed():
    assert [] == list(as_completed([]))
    assert [] == list(map_unordered(Untouched(), []))
