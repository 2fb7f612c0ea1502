"""What keeps a value from its reader: lost, freed, never storable, not to be pickled."""

from __future__ import annotations

from manta.core.errors.base import BYTES, OPTIONAL_TEXT, TEXT, TEXTS, MantaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from manta.core.errors.base import Fields


class ObjectLostError(MantaError):
    """Every copy of an object is gone, and it can't be made again.

    Attributes:
        object_ref_hex: Which object.
        owner_address: Where its owner is or was, as the wire writes it; None if unknown.
        call_site: Where in the program the ref was made; '' unless that is recorded.
        detail: Which nodes had it, and why it is not to be had from them; '' if that is not known.
    """

    code = "OBJECT_LOST"
    _fields: ClassVar[Fields] = (
        ("object_ref_hex", TEXT),
        ("owner_address", BYTES),
        ("call_site", TEXT),
        ("detail", TEXT),
    )

    def __init__(
        self, object_ref_hex: str, owner_address: bytes | None = None, call_site: str = "", detail: str = ""
    ) -> None:
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site
        self.detail = detail

    def _base_str(self) -> str:
        text = f"Failed to retrieve object {self.object_ref_hex}."
        return f"{text} The ObjectRef was created at: {self.call_site}" if self.call_site else text

    def _reason(self) -> str:
        text = f"All copies of {self.object_ref_hex} have been lost due to node failure."
        return f"{text} {self.detail}" if self.detail else text

    def _text(self) -> str:
        return f"{self._base_str()}\n\n{self._reason()}"


class ObjectFetchTimedOutError(ObjectLostError):
    """No copy of the object was found in time."""

    code = "OBJECT_FETCH_TIMED_OUT"

    def _reason(self) -> str:
        return (
            f"Fetch for object {self.object_ref_hex} timed out because no locations were found for the object. "
            "This may indicate a system-level bug."
        )


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted while a reference to it lived. A bug of ours."""

    code = "OBJECT_DELETED"

    def _reason(self) -> str:
        return "The object has already been deleted by the reference counting protocol. This should not happen."


class ObjectFreedError(ObjectLostError):
    """The program freed the object itself."""

    code = "OBJECT_FREED"

    def _reason(self) -> str:
        return (
            "The object was manually freed using the internal `free` call. "
            "Please ensure that `free` is only called once the object is no longer needed."
        )


class OwnerDiedError(ObjectLostError):
    """The process that made the ref is gone, and with it all knowledge of the object."""

    code = "OWNER_DIED"

    def _reason(self) -> str:
        return (
            "The object's owner has exited. This is the Python worker that first created the ObjectRef via `.remote()` "
            "or `ray.put()`."
        )


_UNRECONSTRUCTABLE = "OBJECT_UNRECONSTRUCTABLE_"

#: Why a lost object could not be made again: the state API's names, without their common prefix, and the texts.
RECONSTRUCTION_REASONS = {
    "MAX_ATTEMPTS_EXCEEDED": (
        "the maximum number of task retries has been exceeded. "
        "Consider increasing the number of retries using `@ray.remote(max_retries=N)`."
    ),
    "LINEAGE_EVICTED": (
        "its lineage has been evicted to reduce memory pressure. "
        "To prevent this error, set the environment variable MANTA_max_lineage_bytes=<bytes> (default 1GB)."
    ),
    "PUT": (
        "it was created by ray.put(), which has no task lineage. "
        "To prevent this error, return the value from a task instead."
    ),
    "RETRIES_DISABLED": (
        "the task was created with max_retries=0. Consider enabling retries using `@ray.remote(max_retries=N)`."
    ),
    "BORROWED": (
        "it crossed an ownership boundary. Only the owner of an object can trigger reconstruction, "
        "but this worker borrowed the object from another worker."
    ),
    "REF_NOT_FOUND": "its reference was not found in the reference counter. This is a bug.",
    "TASK_CANCELLED": "the task that would produce it was cancelled.",
    "LINEAGE_DISABLED": "lineage reconstruction is disabled system-wide.",
}


class ObjectReconstructionFailedError(ObjectLostError):
    """The object is lost, and running its task again was tried or ruled out.

    Attributes:
        reason: OBJECT_UNRECONSTRUCTABLE_ and a key of `RECONSTRUCTION_REASONS`, None if unknown.
        reason_message: The same as a sentence.
    """

    code = "OBJECT_UNRECONSTRUCTABLE"
    _fields: ClassVar[Fields] = (
        ("object_ref_hex", TEXT),
        ("reason", OPTIONAL_TEXT),
        ("reason_message", TEXT),
        ("owner_address", BYTES),
        ("call_site", TEXT),
    )

    def __init__(
        self,
        object_ref_hex: str,
        reason: str | None = None,
        reason_message: str | None = None,
        owner_address: bytes | None = None,
        call_site: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.reason = reason
        known = RECONSTRUCTION_REASONS.get((reason or "").removeprefix(_UNRECONSTRUCTABLE))
        self.reason_message = reason_message or (
            f"The object cannot be reconstructed because {known}" if known else "Unknown error reason."
        )

    def _reason(self) -> str:
        return f"[{self.reason or 'UNKNOWN'}] {self.reason_message}"


class StaleRefError(ObjectLostError, ValueError):
    """The ref is of a cluster that this process has left, or was made from the bytes of an id that means nothing here."""

    code = "STALE_REF"

    def _reason(self) -> str:
        return (
            "The ref was made in an earlier session, before shutdown(), and its object went with that session; or it was "
            "made from the bytes of an id that nothing here refers to. Make the object again, or pass the ref itself."
        )


class DependencyResolutionError(MantaError):
    """An argument of the task could not be had, for a reason of the system's."""

    code = "DEPENDENCY_RESOLUTION_FAILED"


class PlasmaObjectNotAvailable(MantaError):
    """An object was not there in time."""

    code = "OBJECT_NOT_AVAILABLE"
    _default = "The object was not available within the given timeout."


class ObjectStoreFullError(MantaError):
    """The object store has no room and nothing that could be moved out of it."""

    code = "OBJECT_STORE_FULL"

    def _text(self) -> str:
        return (
            super()._text()
            + "\nThe local object store is full of objects that are still in scope and cannot be evicted."
        ).lstrip("\n")


class OutOfDiskError(MantaError):
    """Neither the object store nor the disk it spills to has room."""

    code = "OUT_OF_DISK_ERROR"

    def _text(self) -> str:
        return (
            super()._text()
            + "\nThe object cannot be created because the local object store is full and the local disk's utilization is "
            "over capacity (95% by default). Tip: Use `df` on this node to check disk usage."
        ).lstrip("\n")


class SerializationError(MantaError, TypeError):
    """A value can't be pickled.

    Attributes:
        what: What was to be pickled: "the argument `x` of f()", "the value given to put()".
        path: The way from there to the culprit, outermost first: ("['model']", ".lock"). Empty if unknown.
        culprit: The culprit, as text: "a _thread.lock".
        reason: What pickling it raised.
    """

    code = "SERIALIZATION_FAILED"
    _fields: ClassVar[Fields] = (("what", TEXT), ("reason", TEXT), ("path", TEXTS), ("culprit", TEXT))

    def __init__(self, what: str, reason: str, path: Sequence[str] = (), culprit: str = "") -> None:
        self.what = what
        self.reason = reason
        self.path = tuple(path)
        self.culprit = culprit

    def _text(self) -> str:
        text = f"Could not serialize {self.what}: {self.reason}"
        if self.path:
            text += f"\nThe culprit is at {' -> '.join(self.path)}" + (f": {self.culprit}" if self.culprit else "")
        elif self.culprit:
            text += f"\nThe culprit is {self.culprit}"
        return text + (
            "\nLeave it out, make it where it is needed, or tell pickle how to write it (__reduce__ or __getstate__)."
        )


class OufOfBandObjectRefSerializationException(MantaError):
    """An ObjectRef was pickled by something else than a task's arguments, a result or `put`, where that is forbidden."""

    code = "OUT_OF_BAND_REF"
