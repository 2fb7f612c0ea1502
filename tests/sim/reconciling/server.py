"""An API server's memory: objects with versions, and every change in its order, for copies that are late."""

from __future__ import annotations

import itertools
from typing import Any

from manta_operator.kube.errors import ApiError
from tests.support.kubernetes import at

Manifest = dict[str, Any]
KINDS = (
    "mantaclusters",
    "pods",
    "secrets",
    "services",
    "persistentvolumeclaims",
    "networkpolicies",
    "serviceaccounts",
    "nodes",
)


def plain(value: Any) -> Any:
    """A copy of JSON; `copy.deepcopy` takes five times as long."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


class Server:
    """Objects of all kinds in one namespace."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Manifest]] = {kind: {} for kind in KINDS}
        #: Of each kind every change: version, name, and the object, or None for its end.
        self.log: dict[str, list[tuple[int, str, Manifest | None]]] = {kind: [] for kind in KINDS}
        self.version = 0
        #: How many pods there may be; None for no quota.
        self.quota: int | None = None
        self._uids = itertools.count(1)

    def put(self, kind: str, obj: Manifest) -> Manifest:
        """Have an object; everybody who watches is told sooner or later."""
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        name = obj["metadata"]["name"]
        self.objects[kind][name] = obj
        self.log[kind].append((self.version, name, obj))
        return obj

    def change(self, kind: str, name: str) -> Manifest:
        """A copy of an object, to be changed and `put`: what was read before stays as it was."""
        return plain(self.objects[kind][name])

    def gone(self, kind: str, name: str) -> None:
        """Have an object no more."""
        self.version += 1
        del self.objects[kind][name]
        self.log[kind].append((self.version, name, None))

    def create(self, kind: str, manifest: Manifest, now: float) -> Manifest:
        """POST."""
        obj = plain(manifest)
        name = obj["metadata"]["name"]
        if name in self.objects[kind]:
            raise ApiError(f"POST {kind}", 409, "AlreadyExists", f"{name} exists")
        if kind == "pods" and self.quota is not None and len(self.objects["pods"]) >= self.quota:
            raise ApiError(f"POST {kind}", 403, "Forbidden", f"exceeded quota: pods={self.quota}")
        obj["metadata"] |= {"uid": f"uid-{next(self._uids)}", "creationTimestamp": at(now)}
        if kind == "pods":
            obj["status"] = {"phase": "Pending", "conditions": [], "containerStatuses": []}
        if kind == "persistentvolumeclaims":
            obj["status"] = {"phase": "Bound"}
        return self.put(kind, obj)

    def apply(self, kind: str, manifest: Manifest, uid: str, version: str, now: float) -> Manifest:
        """PATCH, server-side: fields are merged, lists replaced."""
        name = manifest["metadata"]["name"]
        there = self.objects[kind].get(name)
        if there is None:
            if uid:
                raise ApiError(f"PATCH {kind}", 404, "NotFound", name)
            return self.create(kind, manifest, now)
        if (uid and there["metadata"]["uid"] != uid) or (version and there["metadata"]["resourceVersion"] != version):
            raise ApiError(f"PATCH {kind}", 409, "Conflict", f"{name} is another by now")
        merged = _merged(there, manifest)
        return there if merged == there else self.put(kind, merged)

    def delete(self, kind: str, name: str, uid: str, version: str, now: float, *, at_once: bool = False) -> bool:
        """DELETE with preconditions. A pod on a node stays until its kubelet has ended it."""
        there = self.objects[kind].get(name)
        if there is None:
            return True
        metadata = there["metadata"]
        if (uid and metadata["uid"] != uid) or (version and metadata["resourceVersion"] != version):
            return False
        if kind != "pods" or at_once or "nodeName" not in there["spec"]:
            self.gone(kind, name)
        elif "deletionTimestamp" not in metadata:
            obj = self.change(kind, name)
            obj["metadata"]["deletionTimestamp"] = at(now)
            self.put(kind, obj)
        return True


class Copies:
    """What one watcher has: of each kind the state of some moment, which is never earlier than the one before."""

    def __init__(self, server: Server, back: int = 0) -> None:
        self._server = server
        self._at = dict.fromkeys(KINDS, 0)
        self.objects: dict[str, dict[str, Manifest]] = {kind: {} for kind in KINDS}
        for kind in KINDS:
            self.advance(kind, max(0, len(server.log[kind]) - back))

    def behind(self, kind: str) -> int:
        """How many changes of a kind it has not seen."""
        return len(self._server.log[kind]) - self._at[kind]

    def advance(self, kind: str, changes: int) -> bool:
        """See some more changes of a kind. Returns whether there were any."""
        log, start = self._server.log[kind], self._at[kind]
        end = min(len(log), start + changes)
        for _, name, obj in log[start:end]:
            if obj is None:
                self.objects[kind].pop(name, None)
            else:
                self.objects[kind][name] = obj
        self._at[kind] = end
        return end > start

    def reach(self, kind: str, version: int) -> bool:
        """See everything up to a version. Returns whether there was anything."""
        moved = False
        while self.behind(kind) and self._server.log[kind][self._at[kind]][0] <= version:
            moved |= self.advance(kind, 1)
        return moved


def _merged(there: Any, wanted: Any) -> Any:
    if isinstance(there, dict) and isinstance(wanted, dict):
        return {**there, **{name: _merged(there.get(name), value) for name, value in wanted.items()}}
    return plain(wanted)
