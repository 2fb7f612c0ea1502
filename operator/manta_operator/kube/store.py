"""A copy of a kind's objects, trimmed to what is read, found by key or by an index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from manta_operator.kube.resources import Key, key_of

#: The values under which an object is found in an index.
Index = Callable[[dict[str, Any]], Iterable[str]]
#: Told of every change: what an object was, and what it is; None for not there.
Listener = Callable[[dict[str, Any] | None, dict[str, Any] | None], None]


class Store:
    """Objects of one kind.

    What comes out of it is shared by all who read, and never to be changed.

    Args:
        indexes: By name, what objects are found by.
        trim: Makes of an object what is kept of it; must keep name, namespace, uid and resourceVersion.
    """

    def __init__(
        self, indexes: Mapping[str, Index] | None = None, trim: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    ) -> None:
        self._indexes = dict(indexes or {})
        self._trim = trim or without_management
        self._objects: dict[Key, dict[str, Any]] = {}
        self._found: dict[str, dict[str, dict[Key, dict[str, Any]]]] = {name: {} for name in self._indexes}
        self._listeners: list[Listener] = []

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Key) -> dict[str, Any] | None:
        """The object of a key."""
        return self._objects.get(key)

    def all(self) -> list[dict[str, Any]]:
        """Every object."""
        return list(self._objects.values())

    def by(self, index: str, value: str) -> list[dict[str, Any]]:
        """The objects that an index has under a value."""
        return list(self._found[index].get(value, {}).values())

    def listen(self, listener: Listener) -> None:
        """Tell of every change from now on; what is there already is told at once, as new."""
        for obj in self._objects.values():
            listener(None, obj)
        self._listeners.append(listener)

    def put(self, obj: dict[str, Any]) -> bool:
        """Have an object as it is now. Returns whether it was another before; nobody is told of what they know."""
        return self.put_trimmed(self._trim(obj))

    def trim(self, obj: dict[str, Any]) -> dict[str, Any]:
        """What would be kept of an object, for `put_trimmed`: whoever has many need not have them whole until all are there."""
        return self._trim(obj)

    def put_trimmed(self, obj: dict[str, Any]) -> bool:
        """See `put`; of an object that `trim` made."""
        key = key_of(obj)
        before = self._objects.get(key)
        if before is not None and _identity(before) == _identity(obj):
            return False
        self._unfile(key, before)
        self._objects[key] = obj
        for name, index in self._indexes.items():
            for value in index(obj):
                self._found[name].setdefault(value, {})[key] = obj
        if before is not None and before["metadata"].get("uid") != obj["metadata"].get("uid"):
            # Another object of the same name: the first one's end was not seen, and is told all the same.
            self._tell(before, None)
            before = None
        self._tell(before, obj)
        return True

    def remove(self, key: Key) -> bool:
        """Have an object no more. Returns whether there was one."""
        before = self._objects.pop(key, None)
        if before is None:
            return False
        self._unfile(key, before)
        self._tell(before, None)
        return True

    def _unfile(self, key: Key, obj: dict[str, Any] | None) -> None:
        if obj is None:
            return
        for name, index in self._indexes.items():
            for value in index(obj):
                files = self._found[name].get(value)
                if files is not None and files.pop(key, None) is not None and not files:
                    del self._found[name][value]

    def _tell(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        for listener in self._listeners:
            listener(before, after)


def without_management(obj: dict[str, Any]) -> dict[str, Any]:
    """An object less who wrote which field of it, often half of its size, and the copy that `kubectl apply` keeps in it."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    annotations = metadata.get("annotations")
    if annotations and "kubectl.kubernetes.io/last-applied-configuration" in annotations:
        metadata["annotations"] = {
            name: value
            for name, value in annotations.items()
            if name != "kubectl.kubernetes.io/last-applied-configuration"
        }
    return {**obj, "metadata": metadata}


def owners(obj: dict[str, Any]) -> list[str]:
    """An index: the UIDs of an object's owners."""
    return [owner["uid"] for owner in obj["metadata"].get("ownerReferences", []) if "uid" in owner]


def label(name: str) -> Index:
    """An index: a label's value, within its namespace, as `namespace/value`."""

    def values(obj: dict[str, Any]) -> list[str]:
        value = (obj["metadata"].get("labels") or {}).get(name)
        return [] if value is None else [f"{obj['metadata'].get('namespace', '')}/{value}"]

    return values


def _identity(obj: dict[str, Any]) -> tuple[Any, Any]:
    return obj["metadata"].get("uid"), obj["metadata"].get("resourceVersion")
