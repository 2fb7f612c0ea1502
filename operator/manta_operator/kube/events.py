"""What people are told about an object. Plans say it, `recorder` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NORMAL: Final = "Normal"
#: Somebody may have to do something.
WARNING: Final = "Warning"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        reason: In one word.
        message: For people; at most 1024 characters are told.
        type: Normal or Warning.
    """

    reason: str
    message: str
    type: str = NORMAL
