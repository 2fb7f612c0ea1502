"""`inspect_serializability` under the name that programs import it from."""

from manta.util.serialization import FailureTuple, inspect_serializability

__all__ = ["FailureTuple", "inspect_serializability"]
