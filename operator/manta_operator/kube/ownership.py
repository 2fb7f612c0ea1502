"""What a name that is taken means to somebody who wanted to create an object of that name. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Any

#: An annotation on what is created once: from which wish it was made.
REVISION = "manta.compute/revision"


class Taken(Enum):
    """Whose the object is that has the name."""

    #: Exactly what was to be created: an earlier attempt whose answer was lost, or another instance, did it.
    OURS = "ours"
    #: Of the same owner, from an older or newer wish.
    OTHER_REVISION = "other revision"
    #: It is being deleted; the name is free again when it is gone.
    GOING = "going"
    #: Somebody else's: never touched.
    FOREIGN = "foreign"


def whose(existing: dict[str, Any], wanted: dict[str, Any]) -> Taken:
    """Compare what is there with what was to be created: owner, revision, whether it is going."""
    metadata = existing["metadata"]
    if _controller(existing) != _controller(wanted):
        return Taken.FOREIGN
    if metadata.get("deletionTimestamp"):
        return Taken.GOING
    if _revision(existing) != _revision(wanted):
        return Taken.OTHER_REVISION
    return Taken.OURS


def _controller(obj: dict[str, Any]) -> str | None:
    """The UID of the owner in charge: a name's next owner may have the same name, never the same UID."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return str(owner.get("uid"))
    return None


def _revision(obj: dict[str, Any]) -> str | None:
    value = (obj["metadata"].get("annotations") or {}).get(REVISION)
    return None if value is None else str(value)
