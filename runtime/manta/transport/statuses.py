"""gRPC's statuses by number, for those who speak it without loading it, and what one means where nothing else was said."""

from __future__ import annotations

from manta.core.errors import AuthenticationError, MantaError, OverloadedError, RpcError, RpcTimeoutError

#: Trailing metadata that holds the encoded ErrorInfo.
METADATA_KEY = "manta-error-bin"

#: Names by number.
NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE, UNAUTHENTICATED = 1, 4, 8, 14, 16


def name_of(number: int) -> str:
    """The status's name."""
    return NAMES[number] if 0 <= number < len(NAMES) else f"status {number}"


def error_of_status(number: int, said: str) -> MantaError:
    """The error of ours that a bare status means.

    Args:
        number: The status.
        said: What came with it; may be empty.
    """
    name = name_of(number)
    text = said or name
    if number == DEADLINE_EXCEEDED:
        return RpcTimeoutError(text, number)
    if number == RESOURCE_EXHAUSTED:
        return OverloadedError(text, number)
    if number == UNAUTHENTICATED:
        return AuthenticationError(text)
    return RpcError(f"{name}: {text}", number)
