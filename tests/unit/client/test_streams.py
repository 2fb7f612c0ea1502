"""What owners know of streams."""

from __future__ import annotations

from manta.client.generators import NONE
from manta.serde import serialize, to_bytes


def test_the_value_of_an_ended_stream_is_none_as_it_is_pickled():
    """Owners never pickle, so they have it as a constant."""
    assert to_bytes(serialize(None)) == NONE
