"""Checks of what several RPCs carry."""

from __future__ import annotations

from manta.control.errors import InvalidRequestError

REQUEST_ID_BYTES = 16


def request_id(value: bytes) -> bytes:
    """The id that makes a repetition known.

    Raises:
        InvalidRequestError: It is none.
    """
    if len(value) != REQUEST_ID_BYTES:
        raise InvalidRequestError(
            f"request_id must have {REQUEST_ID_BYTES} bytes, not {len(value)}: it is what makes repeating safe"
        )
    return value
