"""Nodes with their kubelets, and control with its raylets: what happens to pods after they are made."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace

from manta_operator.cluster.seen import Control, ControlNode, Drain
from tests.sim.reconciling.server import Manifest, Server
from tests.support.kubernetes import CLUSTER, at, node

HEAD = f"{CLUSTER}-head"
#: As Kubernetes does it: after how much silence a node is Unknown, and after how much more its pods are deleted.
SILENCE_S, EVICTION_S = 50.0, 300.0


@dataclass
class Host:
    """A node: whether its kubelet works, and whether its pods do. A zombie's pods work without a kubelet."""

    name: str
    kubelet: bool = True
    power: bool = True
    silent_since: float = 0.0


class Machines:
    """All of them."""

    def __init__(self, server: Server, chance: random.Random, hosts: int) -> None:
        self.server, self.chance = server, chance
        self.hosts = {name: Host(name) for name in (f"node-{number}" for number in range(hosts))}
        self.raylets: dict[str, ControlNode] = {}
        #: Until when control does not answer the operator, although it works; and until when it works for nobody.
        self.deaf_until = self.down_until = 0.0
        #: Nodes that control would not drain, and whether it would refuse now.
        self.refused: dict[str, str] = {}
        self.refuses = False
        self._now = 0.0
        self._ids = itertools.count(1)
        for host in self.hosts.values():
            server.put("nodes", node(host.name))

    @property
    def control_up(self) -> bool:
        """Whether control answers."""
        head = self.server.objects["pods"].get(HEAD)
        return self._now >= self.down_until and head is not None and _ready(head) and self._works(head)

    @property
    def control_answers(self) -> bool:
        """Whether it answers the operator."""
        return self.control_up and self._now >= self.deaf_until

    def control(self, silent_since: float) -> Control:
        """What control says."""
        if not self.control_answers:
            return Control(silent="no answer", silent_since=silent_since)
        return Control(nodes=tuple(self.raylets.values()), refused=dict(self.refused))

    def drain(self, node_id: str, grace_s: float, now: float) -> None:
        """Control is asked to."""
        raylet = self.raylets.get(node_id)
        if not self.control_answers or raylet is None or not raylet.alive or raylet.drain is not Drain.NONE:
            return
        if self.refuses:
            self.refused[node_id] = "no other node would take its work"
        else:
            self.refused.pop(node_id, None)
            self.raylets[node_id] = replace(raylet, drain=Drain.DRAINING, deadline=now + grace_s)

    def raylet_of(self, pod_uid: str) -> ControlNode | None:
        """The living raylet of a pod."""
        return next((one for one in self.raylets.values() if one.pod_uid == pod_uid and one.alive), None)

    def step(self, now: float, eager: float) -> None:
        """Let everything go on for a moment.

        Args:
            now: The time.
            eager: How likely it is that what can happen does, 0 to 1.
        """
        self._now = now
        for host in list(self.hosts.values()):
            self._host(host, now)
        for name in list(self.server.objects["pods"]):
            if self.chance.random() < eager:
                self._pod(name, now)
        for one in list(self.raylets.values()):
            self._raylet(one, now, eager)

    def stop(self, host: Host, now: float, *, power: bool) -> None:
        """A kubelet stops; without power so does everything there."""
        host.kubelet, host.power, host.silent_since = False, power, now

    def start(self, host: Host, now: float) -> None:
        """A node comes back."""
        host.kubelet = host.power = True
        self.server.put("nodes", node(host.name, since=now))

    def remove(self, host: Host) -> None:
        """A node is deleted, and with it what was there."""
        del self.hosts[host.name]
        self.server.gone("nodes", host.name)

    def _works(self, pod: Manifest) -> bool:
        host = self.hosts.get(pod["spec"].get("nodeName", ""))
        return host is not None and host.power

    def _host(self, host: Host, now: float) -> None:
        if host.kubelet:
            return
        there = self.server.objects["nodes"][host.name]["status"]["conditions"][0]
        if there["status"] == "True" and now >= host.silent_since + SILENCE_S:
            self.server.put("nodes", node(host.name, ready="Unknown", since=now))
            for name, pod in list(self.server.objects["pods"].items()):
                if pod["spec"].get("nodeName") == host.name and _ready(pod):
                    self._set_ready(name, now, ready=False)
        if now >= host.silent_since + SILENCE_S + EVICTION_S:
            for name, pod in list(self.server.objects["pods"].items()):
                if pod["spec"].get("nodeName") == host.name:
                    self.server.delete("pods", name, pod["metadata"]["uid"], "", now)

    def _pod(self, name: str, now: float) -> None:
        pod = self.server.objects["pods"].get(name)
        if pod is None:
            return
        host = self.hosts.get(pod["spec"].get("nodeName", ""))
        if "nodeName" not in pod["spec"]:
            free = [one for one in self.hosts.values() if one.kubelet]
            if free:
                changed = self.server.change("pods", name)
                changed["spec"]["nodeName"] = self.chance.choice(free).name
                self.server.put("pods", changed)
        elif host is None:
            self.server.gone("pods", name)  # as the collector of pods without a node does
        elif not host.kubelet:
            return
        elif "deletionTimestamp" in pod["metadata"]:
            self.server.gone("pods", name)
        elif pod["status"]["phase"] == "Pending":
            self._run(name, now)
        elif pod["status"]["phase"] == "Running":
            up = now >= self.down_until if name == HEAD else self.control_up and self._register(pod)
            if up != _ready(pod):
                self._set_ready(name, now, ready=up)

    def _run(self, name: str, now: float) -> None:
        pod = self.server.change("pods", name)
        pod["status"] |= {
            "phase": "Running",
            "containerStatuses": [
                {
                    "name": one["name"],
                    "image": one.get("image", ""),
                    "ready": False,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": at(now)}},
                }
                for one in pod["spec"]["containers"]
            ],
        }
        self.server.put("pods", pod)

    def _register(self, pod: Manifest) -> bool:
        """A raylet without a living entry registers. Returns whether it is registered and takes work."""
        uid = pod["metadata"]["uid"]
        if self.raylet_of(uid) is None:
            number = f"raylet-{next(self._ids)}"
            self.raylets[number] = ControlNode(id=number, pod_uid=uid, idle=self.chance.random() < 0.5)
        return True

    def _set_ready(self, name: str, now: float, *, ready: bool) -> None:
        pod = self.server.change("pods", name)
        pod["status"]["conditions"] = [{"type": "Ready", "status": str(ready), "lastTransitionTime": at(now)}]
        for one in pod["status"]["containerStatuses"]:
            one["ready"] = ready
        self.server.put("pods", pod)

    def _raylet(self, one: ControlNode, now: float, eager: float) -> None:
        if not one.alive or not self.control_up:
            return
        pods = {pod["metadata"]["uid"]: pod for pod in self.server.objects["pods"].values()}
        pod = pods.get(one.pod_uid)
        if pod is None or not self._works(pod):
            drained = Drain.DRAINED if one.drain is not Drain.NONE else Drain.NONE
            self.raylets[one.id] = replace(one, alive=False, drain=drained)
        elif one.drain is Drain.DRAINING and (now >= one.deadline or self.chance.random() < eager / 2):
            # Its container starts anew, so that its pod may soon have another raylet.
            self.raylets[one.id] = replace(one, alive=False, drain=Drain.DRAINED)


def _ready(pod: Manifest) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"]["conditions"])
