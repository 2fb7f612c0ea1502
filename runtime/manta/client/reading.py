"""What only processes that run user code do with what came: unpickle it."""

from __future__ import annotations

from manta.client import failures
from manta.client.counting import REBUILD
from manta.client.refs import Arriving
from manta.serde import deserialize
from manta.transport.convert import error_from_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.counting import Counting
    from manta.client.values import Failure


def load(counting: Counting, data: bytes | memoryview, noted: list[bytes] | None) -> Any:
    """Deserialise a value that may hold many refs: all are counted when this returns or raises.

    Args:
        counting: Of the process.
        data: The value.
        noted: Takes the ids of refs and handles that come out, one for each.
    """
    capture = counting.capture
    before, capture.refs = capture.refs, noted
    arriving = capture.arriving = Arriving(noted, capture.arriving)
    try:
        return deserialize(data, {REBUILD: arriving.take})
    finally:
        capture.refs, capture.arriving = before, arriving.outer
        counting.arrived(arriving)


def exception_of(failure: Failure) -> BaseException:
    """The exception that `get` raises."""
    fields = failure.fields
    if fields.kind in failures.RAISED:
        return failures.describe(fields).to_error(deserialize)
    return error_from_proto(fields.error, deserialize)
