"""A namespace's Secrets as an API server keeps them, and whoever writes there what was decided."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from cryptography import x509

from manta_operator.api.parse import parse_cluster
from manta_operator.credentials import content
from manta_operator.credentials.certificate import load
from manta_operator.credentials.decide import Decision, decide
from manta_operator.credentials.making import Makers
from manta_operator.credentials.rotation import Schedule
from tests.unit.operator.clusters import BUILD, raw_cluster

START = 1_800_000_000.0
DAY = 86400.0
NAMES = ("demo-authority", "demo-head", "demo-join", "demo-viewer", "demo-submitter", "demo-admin")
SCHEDULE = Schedule(asked_s=600.0, planned_s=30 * DAY)


class World:
    """One cluster's.

    Args:
        changes: Of its spec, as for `raw_cluster`.
    """

    def __init__(self, *changes: tuple[str, Any]) -> None:
        self.raw = raw_cluster(*changes)
        self.secrets: dict[str, dict[str, Any]] = {}
        self.now = START
        self.writes: list[str] = []
        self._version = 0

    def annotate(self, name: str, value: str) -> None:
        """As a user would."""
        self.raw["metadata"]["annotations"][name] = value

    def put(self, name: str, files: dict[str, bytes], **metadata: Any) -> None:
        """Somebody else's Secret."""
        self._version += 1
        data = content.manifest(parse_cluster(self.raw), name, files)["data"]
        about = {"name": name, "uid": f"u-{self._version}", "resourceVersion": str(self._version), **metadata}
        self.secrets[name] = {"metadata": about, "data": data}

    def edit(self, name: str, **files: bytes) -> None:
        """Change files of a Secret that is there, as a stranger would."""
        self._version += 1
        data = content.manifest(parse_cluster(self.raw), name, files)["data"]
        metadata = {**self.secrets[name]["metadata"], "resourceVersion": str(self._version)}
        self.secrets[name] = {
            **self.secrets[name],
            "metadata": metadata,
            "data": {**self.secrets[name]["data"], **data},
        }

    def decide(self, seen: dict[str, dict[str, Any]] | None = None) -> Decision:
        """What is to be done, by what is there or by what somebody has seen."""
        secrets = self.secrets if seen is None else seen
        return decide(parse_cluster(self.raw), secrets.values(), self.now, Makers(), BUILD, SCHEDULE)

    def write(self, decision: Decision, most: int = 100) -> int:
        """Write the first few of what was decided, as the API server would take it. Returns how many there were."""
        writes: list[Callable[[], None]] = [lambda one=one: self._create(one) for one in decision.creates]  # type: ignore[misc]
        writes += [lambda one=one: self._update(one) for one in decision.updates]  # type: ignore[misc]
        for one in writes[:most]:
            one()
        return len(writes)

    def settle(self, rounds: int = 10) -> Decision:
        """Decide and write until nothing is left to write; the last decision."""
        for _ in range(rounds):
            decision = self.decide()
            if not self.write(decision):
                return decision
        raise AssertionError(f"it never comes to rest: {self.writes[-12:]}")

    def files(self, name: str) -> dict[str, bytes]:
        """What a Secret holds."""
        return content.files(self.secrets[name])

    def bytes(self) -> dict[str, dict[str, bytes]]:
        """What all of them hold."""
        return {name: self.files(name) for name in self.secrets}

    def _create(self, manifest: dict[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        self.writes.append(f"create {name}")
        if name not in self.secrets:
            self._keep(name, copy.deepcopy(manifest), f"u-{self._version + 1}")

    def _update(self, update: Any) -> None:
        name = update.manifest["metadata"]["name"]
        self.writes.append(f"update {name}")
        seen = self.secrets.get(name)
        if seen is None or (seen["metadata"]["uid"], seen["metadata"]["resourceVersion"]) != (
            update.uid,
            update.version,
        ):
            return
        # Server-side apply: what is said is so; what was there and is not said may stay.
        merged = copy.deepcopy(update.manifest)
        merged["data"] = {**seen["data"], **merged["data"]}
        self._keep(name, merged, update.uid)

    def _keep(self, name: str, manifest: dict[str, Any], uid: str) -> None:
        self._version += 1
        manifest["metadata"] |= {"uid": uid, "resourceVersion": str(self._version)}
        self.secrets[name] = manifest


def settled(*changes: tuple[str, Any]) -> World:
    """One that has come to rest."""
    world = World(*changes)
    world.settle()
    return world


def names_in(certificate: bytes) -> set[str]:
    """The names by which whoever shows it may be known."""
    found = load(certificate)
    assert found is not None
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}
