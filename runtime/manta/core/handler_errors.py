"""Exceptions that a signal handler of the user's raised while our code ran. Imports nothing: serialisation asks."""

from __future__ import annotations


def mark_as_handler_s(error: BaseException) -> None:
    """Say that a signal handler of the user's raised it: it is no failure of what it interrupted."""
    try:
        error.__manta_handler__ = True  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001, S110 - a class of the user's that wants no attributes
        pass


def is_handler_s(error: BaseException) -> bool:
    """Whether a signal handler of the user's raised it, wherever that was: whoever catches it here lets it pass."""
    return getattr(error, "__manta_handler__", False) is True
