"""What a cluster's namespace looks like, less what differs each time: two that were brought to the same spec look alike."""

from __future__ import annotations

import json
import re
from typing import Any

from manta_operator.cluster.differs import APPLIED
from manta_operator.kinds import CHILDREN, CLUSTERS
from manta_operator.kube.resources import PODS, SECRETS, Resource
from tests.kube.harness.client import Api

NAME = "demo"
#: Fields of metadata that the API server makes.
_MADE = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink", "generateName")
_TIMES = (
    "lastTransitionTime",
    "startTime",
    "startedAt",
    "finishedAt",
    "lastProbeTime",
    "lastHeartbeatTime",
    "lastUpdateTime",
)
_ADDRESSES = (
    "clusterIP",
    "clusterIPs",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "nodeName",
    "nodePort",
    "healthCheckNodePort",
)
_SLOT = re.compile(rf"^({NAME}-[a-z0-9-]+)-\d+$")


def cluster(*, replicas: int = 2, image: str = "manta:1", storage: str = "emptyDir", **spec: Any) -> dict[str, Any]:
    """A MantaCluster with one group, `w`."""
    group = {"name": "w", "replicas": replicas, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
    return {
        "apiVersion": CLUSTERS.api_version,
        "kind": CLUSTERS.kind,
        "metadata": {"name": NAME},
        "spec": {
            "image": image,
            "head": {"storage": {"type": storage}},
            "workerGroups": [group],
            **spec,
        },
    }


class Place:
    """One namespace with a cluster in it.

    Args:
        api: Of an administrator.
        namespace: Its name.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def path(self, resource: Resource, name: str = "") -> str:
        """Of a kind here, or of one object."""
        return resource.path(self.namespace, name)

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Have the cluster be so."""
        answer = self.api.apply(self.path(CLUSTERS, NAME), manifest)
        assert answer.ok, answer.message
        return answer.body

    def get(self, resource: Resource, name: str) -> dict[str, Any] | None:
        """One object, if it is there."""
        answer = self.api.get(self.path(resource, name))
        assert answer.ok or answer.status == 404, answer.message
        return answer.body if answer.ok else None

    def all(self, resource: Resource) -> list[dict[str, Any]]:
        """Those that are the cluster's."""
        answer = self.api.get(self.path(resource), labelSelector=f"manta.compute/cluster={NAME}")
        assert answer.ok, answer.message
        return list(answer.body["items"])

    def delete(self, resource: Resource, name: str, **query: str) -> None:
        """Delete one object."""
        answer = self.api.delete(self.path(resource, name), **query)
        assert answer.ok, answer.message

    def patch(self, resource: Resource, name: str, patch: dict[str, Any], subresource: str = "") -> None:
        """Merge something into an object, as a stranger."""
        path = self.path(resource, name) + (f"/{subresource}" if subresource else "")
        answer = self.api.call("PATCH", path, patch, content_type="application/merge-patch+json")
        assert answer.ok, answer.message

    @property
    def mine(self) -> dict[str, Any]:
        """The cluster."""
        found = self.get(CLUSTERS, NAME)
        assert found is not None
        return found

    def pods(self) -> dict[str, str]:
        """Names and UIDs of pods that are not going."""
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in self.all(PODS)
            if not pod["metadata"].get("deletionTimestamp")
        }

    def condition(self, kind: str) -> dict[str, Any]:
        """One of the cluster's conditions; empty if it has none of that type."""
        found = self.get(CLUSTERS, NAME) or {}
        conditions = (found.get("status") or {}).get("conditions") or []
        return next((one for one in conditions if one["type"] == kind), {})

    def settled(self) -> bool:
        """Whether the operator says that all is as it was wanted, of the spec as it is, and no pod is going."""
        found = self.get(CLUSTERS, NAME)
        if found is None:
            return False
        status = found.get("status") or {}
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return False
        true = {one["type"] for one in status.get("conditions") or [] if one["status"] == "True"}
        going = any(pod["metadata"].get("deletionTimestamp") for pod in self.all(PODS))
        return {"Ready", "UpToDate"} <= true and "Progressing" not in true and not going

    def gone(self) -> bool:
        """Whether nothing of the cluster is left."""
        return self.get(CLUSTERS, NAME) is None and not any(self.all(resource) for resource in CHILDREN)

    def secrets(self) -> dict[str, dict[str, str]]:
        """The bytes of each Secret."""
        return {one["metadata"]["name"]: one.get("data") or {} for one in self.all(SECRETS)}

    def state(self) -> dict[str, list[Any]]:
        """Everything, less what differs each time."""
        mine = self.mine
        found = {CLUSTERS.plural: [self._plain(mine, mine)]}
        for resource in CHILDREN:
            objects = [self._plain(one, mine) for one in self.all(resource)]
            found[resource.plural] = sorted(objects, key=lambda one: json.dumps(one, sort_keys=True))
        return found

    def _plain(self, obj: dict[str, Any], mine: dict[str, Any]) -> Any:
        text = json.dumps(_without(obj)).replace(self.namespace, "NAMESPACE").replace(mine["metadata"]["uid"], "UID")
        return json.loads(text)


def _without(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {name: value for name, value in obj["metadata"].items() if name not in _MADE}
    metadata["name"] = _SLOT.sub(r"\1-SLOT", metadata["name"])
    labels = dict(metadata.get("labels") or {})
    if "manta.compute/slot" in labels:
        labels["manta.compute/slot"] = "SLOT"
    metadata["labels"] = labels
    # A hash of what was applied, UIDs and namespaces included.
    metadata["annotations"] = {
        name: value for name, value in (metadata.get("annotations") or {}).items() if name != APPLIED
    }
    plain = {**obj, "metadata": metadata}
    if isinstance(obj.get("data"), dict):
        plain["data"] = sorted(obj["data"])  # bytes are random; that they never change is another test
    return dict(_stripped(plain))


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _stripped(inner)
            for name, inner in value.items()
            if name not in _TIMES and name not in _ADDRESSES and name != "tolerations"
        }
    if isinstance(value, list):
        return [_stripped(one) for one in value]
    if isinstance(value, str):
        return _SLOT.sub(r"\1-SLOT", value)
    return value


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two states differ, for people."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line
            for name in sorted({*one, *other})
            for line in differences(one.get(name), other.get(name), f"{path}.{name}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line for at, pair in enumerate(zip(one, other, strict=True)) for line in differences(*pair, f"{path}[{at}]")
        ]
    return [] if one == other else [f"{path}: {str(one)[:300]} is not {str(other)[:300]}"]
