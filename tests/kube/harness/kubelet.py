"""Stands in for nodes and their kubelets: Node objects that look well, and pods whose status says that they run.

Nothing runs. A pod that is bound to one of these nodes is said to be running and ready; one that is deleted is taken away. What
is different for a pod a test says by its name: `hold` (it is not started), `linger` (it does not end), `fail`, `unready`.
"""

from __future__ import annotations

import datetime
import hashlib
import http.client
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.kube.harness.client import Api
from tests.kube.harness.control import StandInControls
from tests.kube.harness.control_plane import ControlPlane

#: The node controller takes a node for dead that says nothing for 40 s.
HEARTBEAT_S = 8.0
STRATEGIC = "application/strategic-merge-patch+json"
_CAPACITY = {
    "cpu": "10000",
    "memory": "10000Gi",
    "pods": "50000",
    "ephemeral-storage": "10000Gi",
    "nvidia.com/gpu": "64",
}


def now() -> str:
    """As Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kubelet:
    """All nodes of one control plane.

    Attributes:
        controls: What stands in for the clusters' controls.
        hold: `namespace/name` of pods that are not started.
        linger: Of pods that do not end when they are deleted.
        unready: Of pods that run and are not ready.
        silent: Names of nodes that say nothing any more; the controllers notice after their time.
        wrong: What went wrong in here: a test that finds something should fail.
    """

    def __init__(self, kube: ControlPlane, names: tuple[str, ...], controls: StandInControls) -> None:
        self.names, self.controls = names, controls
        self.hold: set[str] = set()
        self.linger: set[str] = set()
        self.unready: set[str] = set()
        self.silent: set[str] = set()
        self.wrong: list[str] = []
        self._kubeconfig = kube.kubeconfig
        self._api = Api(kube.kubeconfig)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._pods: dict[str, dict[str, Any]] = {}
        self._addresses: dict[str, str] = {}
        self._watching: http.client.HTTPConnection | None = None
        self._threads = [
            threading.Thread(target=self._look, name="kubelet", daemon=True),
            threading.Thread(target=self._beat, name="heartbeats", daemon=True),
        ]

    # ---- what tests ask for

    def start(self) -> None:
        """Make the nodes, and begin."""
        for name in self.names:
            self._make_node(name)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        for thread in self._threads:
            thread.join(10.0)
        # Without them pods are Pending again, as other tests want them.
        for name in self.names:
            self._api.delete(f"/api/v1/nodes/{name}")
        self._api.close()

    def release(self, *pods: str) -> None:
        """Treat these pods as all others from now on."""
        for what in (self.hold, self.linger, self.unready):
            what.difference_update(pods)
        self.look_again()

    def look_again(self) -> None:
        """Look at every pod."""
        with self._lock:
            pods = list(self._pods.values())
        for pod in pods:
            self._care(pod)

    def fail(
        self, namespace: str, name: str, reason: str = "Evicted", message: str = "The node was low on memory."
    ) -> None:
        """A pod ends for good, as an evicted one does."""
        status = {"phase": "Failed", "reason": reason, "message": message, "conditions": [_condition("Ready", "False")]}
        self._patch(f"/api/v1/namespaces/{namespace}/pods/{name}", status)

    def address_of(self, uid: str) -> str:
        """Of a head's pod: one that can be listened at, and that is nobody else's."""
        digest = hashlib.sha256(f"{uid}{id(self)}".encode()).digest()
        return self._addresses.setdefault(uid, f"127.{1 + digest[0] % 254}.{digest[1]}.{1 + digest[2] % 254}")

    # ---- nodes

    def _make_node(self, name: str) -> None:
        node = {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
        }
        answer = self._api.create("/api/v1/nodes", node)
        assert answer.ok or answer.status == 409, answer.message
        self._well(name)
        # A new node is tainted until its condition is seen.
        self._api.call("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}}, content_type=STRATEGIC)

    def _well(self, name: str) -> None:
        conditions = [
            {**_condition("Ready", "True"), "reason": "KubeletReady", "message": "", "lastHeartbeatTime": now()}
        ]
        with self._lock:
            status = {"capacity": _CAPACITY, "allocatable": _CAPACITY, "conditions": conditions}
            self._api.call("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, content_type=STRATEGIC)

    def _beat(self) -> None:
        with Api(self._kubeconfig) as api:
            while not self._over.wait(HEARTBEAT_S):
                for name in self.names:
                    if name in self.silent:
                        continue
                    condition = {
                        **_condition("Ready", "True"),
                        "reason": "KubeletReady",
                        "lastHeartbeatTime": now(),
                    }
                    status = {"status": {"conditions": [condition]}}
                    with suppress(OSError, http.client.HTTPException):  # the API server is away
                        api.call("PATCH", f"/api/v1/nodes/{name}/status", status, content_type=STRATEGIC)

    # ---- pods

    def _look(self) -> None:
        with Api(self._kubeconfig) as watching:
            while not self._over.is_set():
                try:
                    self._follow(watching)
                except (OSError, http.client.HTTPException, ValueError, KeyError):
                    self._over.wait(
                        0.2
                    )  # the API server is away, perhaps in the middle of a line, or answers with a Status

    def _follow(self, api: Api) -> None:
        answer = api.get("/api/v1/pods")
        if not answer.ok:
            raise OSError(answer.message)
        here = {pod["metadata"]["uid"]: pod for pod in answer.body["items"]}
        with self._lock:
            gone = [pod for uid, pod in self._pods.items() if uid not in here]
            self._pods = here
        for pod in gone:
            self._left(pod)
        self.look_again()
        version = answer.body["metadata"]["resourceVersion"]
        for event in _watch(api, "/api/v1/pods", version, self._over):
            pod = event["object"]
            uid = pod["metadata"].get("uid")
            if event["type"] == "DELETED":
                with self._lock:
                    self._pods.pop(uid, None)
                self._left(pod)
            elif event["type"] in {"ADDED", "MODIFIED"}:
                with self._lock:
                    self._pods[uid] = pod
                self._care(pod)
            elif event["type"] == "ERROR":
                raise OSError(str(pod))

    def _care(self, pod: dict[str, Any]) -> None:
        try:
            try:
                self._treat(pod)
            except (OSError, http.client.HTTPException):
                self._treat(pod)  # perhaps it was the connection of before a restart
        except (OSError, http.client.HTTPException):
            pass  # the API server is away: all pods are looked at when it is back
        except Exception as error:  # a test must hear of it, and the thread goes on
            self.wrong.append(f"{pod['metadata']['name']}: {type(error).__name__}: {error}")

    def _treat(self, pod: dict[str, Any]) -> None:
        metadata, node = pod["metadata"], pod["spec"].get("nodeName")
        name = f"{metadata['namespace']}/{metadata['name']}"
        if node not in self.names or node in self.silent:
            return
        phase = pod["status"].get("phase")
        if metadata.get("deletionTimestamp"):
            if name not in self.linger:
                self._take_away(pod)
        elif phase == "Pending" and name not in self.hold:
            self._run(pod)
        elif phase == "Running":
            self._set_ready(pod, ready=name not in self.unready)

    def _run(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        head = (metadata.get("labels") or {}).get("manta.compute/group") == "head"
        address = (
            self.address_of(metadata["uid"]) if head else f"10.200.{random.randrange(256)}.{random.randrange(1, 255)}"
        )
        name = f"{metadata['namespace']}/{metadata['name']}"
        ready = name not in self.unready
        if head:
            self._start_control(pod, address)
        self._patch(_path(pod), _running(pod, address, ready=ready))
        if ready:
            self._joined(pod, head=head)

    def _set_ready(self, pod: dict[str, Any], *, ready: bool) -> None:
        conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions") or []}
        if (conditions.get("Ready") == "True") is not ready:
            self._patch(_path(pod), _running(pod, pod["status"].get("podIP", "10.200.0.1"), ready=ready))
            if ready:
                self._joined(pod, head=(pod["metadata"].get("labels") or {}).get("manta.compute/group") == "head")

    def _take_away(self, pod: dict[str, Any]) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        with self._lock:
            self._api.call("DELETE", _path(pod), body)

    def _start_control(self, pod: dict[str, Any], address: str) -> None:
        owner = _owner(pod)
        namespace, cluster = pod["metadata"]["namespace"], owner.get("name")
        if not owner:
            return
        with self._lock:
            answer = self._api.get(f"/api/v1/namespaces/{namespace}/secrets/{cluster}-head")
        if answer.ok:
            self.controls.start(owner["uid"], address, answer.body.get("data") or {})
        else:
            self.wrong.append(f"the head of {namespace}/{cluster} runs and its Secret cannot be read: {answer.message}")

    def _joined(self, pod: dict[str, Any], *, head: bool) -> None:
        owner = _owner(pod)
        if owner:
            self.controls.do(lambda: self.controls.of(owner["uid"]).joined(pod, head=head))

    def _left(self, pod: dict[str, Any]) -> None:
        owner = _owner(pod)
        if not owner:
            return
        uid = pod["metadata"]["uid"]
        self.controls.do(lambda: self.controls.of(owner["uid"]).left(uid))
        if (pod["metadata"].get("labels") or {}).get("manta.compute/group") == "head":
            self.controls.stop(owner["uid"])

    def _patch(self, path: str, status: dict[str, Any]) -> None:
        with self._lock:
            answer = self._api.call("PATCH", f"{path}/status", {"status": status}, content_type=STRATEGIC)
        if not answer.ok and answer.status not in (404, 409):
            self.wrong.append(f"{path}: {answer.message}")


def _path(pod: dict[str, Any]) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


def _owner(pod: dict[str, Any]) -> dict[str, Any]:
    owners = [one for one in pod["metadata"].get("ownerReferences") or [] if one.get("kind") == "MantaCluster"]
    return owners[0] if owners else {}


def _condition(kind: str, status: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": now()}


def _running(pod: dict[str, Any], address: str, *, ready: bool) -> dict[str, Any]:
    started = pod["status"].get("startTime") or now()
    containers = [
        {
            "name": one["name"],
            "image": one["image"],
            "imageID": "",
            "ready": ready,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": started}},
        }
        for one in pod["spec"]["containers"]
    ]
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "10.100.0.1",
        "startTime": started,
        "conditions": [
            _condition("Initialized", "True"),
            _condition("ContainersReady", str(ready)),
            _condition("Ready", str(ready)),
        ],
        "containerStatuses": containers,
    }


def _watch(api: Api, path: str, version: str, over: threading.Event) -> Iterator[dict[str, Any]]:
    """Events, until the watch ends or `over` is set. The server ends it every few seconds, so that an end is noticed."""
    while not over.is_set():
        for event in api.watch(path, resourceVersion=version, timeoutSeconds="3", allowWatchBookmarks="true"):
            version = event["object"].get("metadata", {}).get("resourceVersion", version)
            yield event
            if over.is_set():
                return


@contextmanager
def stand_in_nodes(kube: ControlPlane, folder: Path, names: tuple[str, ...] = ("n1", "n2", "n3")) -> Iterator[Kubelet]:
    """Nodes for a block.

    Args:
        kube: Of which control plane.
        folder: For the credentials of clusters' controls.
        names: Of the nodes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with StandInControls(folder) as controls:
        kubelet = Kubelet(kube, names, controls)
        kubelet.start()
        try:
            yield kubelet
        finally:
            kubelet.stop()
