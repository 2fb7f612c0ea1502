"""The key-value table: namespaced bytes to bytes."""

from __future__ import annotations

from manta.control.commands import Command, Table, Write
from manta.control.errors import LimitExceededError

#: What a row costs beyond its bytes, roughly.
ROW_BYTES = 200


def store_key(namespace: str, key: bytes) -> bytes:
    """One key of the store for both; the length in front keeps ("a", b"bc") and ("ab", b"c") apart."""
    name = namespace.encode()
    return len(name).to_bytes(4, "big") + name + key


def split_key(stored: bytes) -> tuple[str, bytes]:
    """The inverse of `store_key`."""
    end = 4 + int.from_bytes(stored[:4], "big")
    return stored[4:end].decode(), stored[end:]


class KvTable:
    """Values by namespace and key.

    Args:
        limit_bytes: Keys and values together may take so much.
    """

    def __init__(self, limit_bytes: int = 1 << 30) -> None:
        self._limit = limit_bytes
        self._spaces: dict[str, dict[bytes, bytes]] = {}
        self._bytes = 0

    def restore(self, namespace: str, key: bytes, value: bytes) -> None:
        """Take a row from the store."""
        self._spaces.setdefault(namespace, {})[key] = value
        self._bytes += len(key) + len(value) + ROW_BYTES

    def put(self, namespace: str, key: bytes, value: bytes, overwrite: bool, out: list[Command]) -> bool:
        """Store a value unless one is there and `overwrite` is false; returns whether the key is new.

        Raises:
            LimitExceededError: The table would grow too large.
        """
        space = self._spaces.get(namespace, {})
        old = space.get(key)
        if old is not None and not overwrite:
            return False
        grows = len(value) - len(old) if old is not None else len(key) + len(value) + ROW_BYTES
        if grows > 0 and self._bytes + grows > self._limit:
            raise LimitExceededError(
                f"the value of {len(value)} bytes does not fit: the key-value store holds {self._bytes} of at most"
                f" {self._limit} bytes; delete some first"
            )
        self._bytes += grows
        self._spaces.setdefault(namespace, space)[key] = value
        out.append(Write(Table.KV, store_key(namespace, key), value))
        return old is None

    def delete(self, namespace: str, key: bytes, prefix: bool, out: list[Command]) -> int:
        """Delete one key or all that start with it; returns how many there were."""
        doomed = self.keys(namespace, key) if prefix else [key] if self.exists(namespace, key) else []
        if not doomed:
            return 0
        space = self._spaces[namespace]
        for each in doomed:
            self._bytes -= len(each) + len(space.pop(each)) + ROW_BYTES
            out.append(Write(Table.KV, store_key(namespace, each), None))
        if not space:
            del self._spaces[namespace]
        return len(doomed)

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """The value, or None."""
        return self._spaces.get(namespace, {}).get(key)

    def exists(self, namespace: str, key: bytes) -> bool:
        """Whether there is one."""
        return key in self._spaces.get(namespace, {})

    def keys(self, namespace: str, prefix: bytes = b"") -> list[bytes]:
        """Keys that start with a prefix, sorted."""
        return sorted(key for key in self._spaces.get(namespace, {}) if key.startswith(prefix))

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        used = 0
        for space in self._spaces.values():
            assert space
            used += sum(len(key) + len(value) + ROW_BYTES for key, value in space.items())
        assert used == self._bytes
        assert used <= self._limit

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {"kv_keys": sum(map(len, self._spaces.values())), "kv_bytes": self._bytes, "kv_bytes_limit": self._limit}
