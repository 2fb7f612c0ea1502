"""Values to bytes and back, and the refs inside them.

What lives here: pickling with out-of-band buffers (`pickler`), how stream and buffers lie in memory (`layout`), `serialize`
and `deserialize` (`value`), exceptions that come back (`exceptions`), functions as blobs (`functions`), and the search for what
can't be pickled (`culprit`). What does not: what a ref *is* (the client installs it with `install_hooks`), where bytes are
kept (shm, client), and how they travel (transport).

Only drivers and workers import this package: no other process unpickles.
"""

from manta.serde.errors import DeserializationError
from manta.serde.exceptions import dump_exception, serialize_exception
from manta.serde.functions import FunctionBlob, digest_of, dump_function, load_function
from manta.serde.layout import ALIGNMENT
from manta.serde.pickler import install_hooks
from manta.serde.value import Serialized, deserialize, serialize, to_bytes, total_size, write_into

__all__ = [
    "ALIGNMENT",
    "DeserializationError",
    "FunctionBlob",
    "Serialized",
    "deserialize",
    "digest_of",
    "dump_exception",
    "dump_function",
    "install_hooks",
    "load_function",
    "serialize",
    "serialize_exception",
    "to_bytes",
    "total_size",
    "write_into",
]
