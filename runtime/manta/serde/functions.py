"""Functions and classes as blobs named by their content, so that each travels to a worker once."""

from __future__ import annotations

from _pickle import PickleBuffer
from os import environ

from manta.core.errors.base import MantaError
from manta.core.handler_errors import is_handler_s
from manta.serde.pickler import LimitExceededError, ValuePickler
from manta.serde.value import deserialize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Code = Callable[..., Any] | type

#: Bytes of a blob's name.
DIGEST_BYTES = 20
#: From this size on a warning is logged.
WARN_BYTES = 10**7
#: Above this size an error is raised, unless the environment variable `FUNCTION_SIZE_ERROR_THRESHOLD` says otherwise.
ERROR_BYTES = 10**8
THRESHOLD_VARIABLE = "FUNCTION_SIZE_ERROR_THRESHOLD"


class FunctionBlob:
    """A pickled function or class."""

    __slots__ = ("blob", "digest", "handles", "refs")

    def __init__(self, blob: bytes, digest: bytes, refs: Sequence[Any], handles: Sequence[Any]) -> None:
        #: what `load_function` takes
        self.blob = blob
        #: BLAKE2b of `blob`, 20 bytes. The same function pickled again may get another one: cloudpickle is not bound to
        #: write the same bytes twice.
        self.digest = digest
        #: refs and actor handles it captured; they are in use as long as the blob may be loaded
        self.refs = refs
        self.handles = handles


def dump_function(code: Code, what: str | None = None) -> FunctionBlob:
    """Pickle a function or class with all it captures.

    Buffers go in band: an array that a function captured is the worker's own and writable, as its other globals are.

    Args:
        code: The function or class; by reference if it can be imported by its name, else by value.
        what: How errors call it; None for its own name.

    Raises:
        SerializationError: It captures something that can't be pickled; names the variable.
        ValueError: It takes more than the threshold; names what is large in it.
    """
    what = what or f"{'class' if isinstance(code, type) else 'function'} {_name(code)!r}"
    threshold = _threshold()
    pickler = ValuePickler(limit=threshold, in_band=True)
    try:
        pickler.dump(code)
    except LimitExceededError as error:
        raise ValueError(_size_text(code, what, f"too large (> {THRESHOLD_VARIABLE}={_mib(threshold)})")) from error
    except MantaError:
        raise  # typed already: a ref of another cluster, say
    except Exception as error:
        if is_handler_s(error):
            raise
        from manta.serde.culprit import serialization_error

        raise serialization_error(code, error, what) from error
    blob = b"".join([part.raw() if type(part) is PickleBuffer else part for part in pickler.parts])
    if len(blob) > WARN_BYTES:
        from logging import getLogger

        getLogger(__name__).warning("%s", _size_text(code, what, f"very large ({_mib(len(blob))})"))
    return FunctionBlob(blob, digest_of(blob), pickler.refs, pickler.handles)


def load_function(blob: bytes | memoryview) -> Code:
    """The function or class of a blob.

    Raises:
        DeserializationError: It can't be loaded here, for example because a module it needs is not installed.
    """
    code: Code = deserialize(blob)
    return code


def digest_of(blob: bytes) -> bytes:
    """The name of a blob: BLAKE2b, 20 bytes."""
    from _blake2 import blake2b  # what hashlib hands out; hashlib itself loads OpenSSL first, 4 ms

    return blake2b(blob, digest_size=DIGEST_BYTES).digest()


def _threshold() -> int:
    text = environ.get(THRESHOLD_VARIABLE, "")
    if not text:
        return ERROR_BYTES
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{THRESHOLD_VARIABLE}={text!r} in the environment: expected a number of bytes") from None


def _size_text(code: Code, what: str, verdict: str) -> str:
    from manta.serde.culprit import parts_of, size_of

    sizes = sorted(((size_of(item), name) for name, item in parts_of(code)), reverse=True)
    large = ", ".join(f"{name} ({_mib(size)})" for size, name in sizes[:3] if size > WARN_BYTES // 10)
    return (
        f"The {what} is {verdict}. Check that its definition is not implicitly capturing a large array or other object in "
        f"scope{f'; it captures {large}' if large else ''}. Tip: use put() to put large objects in the object store."
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _name(code: Code) -> str:
    return str(getattr(code, "__qualname__", type(code).__name__))
