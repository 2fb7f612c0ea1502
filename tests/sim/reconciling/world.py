"""One cluster of Manta on a modelled Kubernetes, a history chosen by a seed, and what must be so at every moment of it."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from manta.transport import certificates
from manta.transport.certificates import KeyPair, Role
from manta_operator.api.parse import parse_cluster
from manta_operator.builders.build import Build
from manta_operator.builders.children import applied
from manta_operator.cluster.actions import Apply, Create, Delete
from manta_operator.cluster.pods import Standing, pods_of
from manta_operator.cluster.seen import Drain
from manta_operator.cluster.workers import SILENT_S
from tests.sim.reconciling.machines import HEAD, Machines
from tests.sim.reconciling.server import Manifest, Server, plain
from tests.sim.reconciling.shell import Operator
from tests.support.kubernetes import CLUSTER, NOW, at, cluster, group

AUTHORITY = f"{CLUSTER}-authority"
GROUPS = ("w", "gpu", "x-1")


class Makes:
    """Keys that are made once for all histories, as making them takes longer than a whole history; tokens that count."""

    def __init__(self) -> None:
        self._tokens = 0

    def token(self) -> str:
        self._tokens += 1
        return f"{self._tokens:064x}"

    def authority(self, cluster: str, now: datetime) -> KeyPair:
        return _authority(cluster)

    def leaf(self, authority: KeyPair, role: Role, cluster: str, now: datetime, names: Sequence[str]) -> KeyPair:
        return _leaf(authority, role, cluster, tuple(names))


@functools.cache
def _authority(cluster: str) -> KeyPair:
    return certificates.make_authority(cluster, now=datetime.fromtimestamp(NOW, UTC))


@functools.cache
def _leaf(authority: KeyPair, role: Role, cluster: str, names: tuple[str, ...]) -> KeyPair:
    return certificates.make_leaf(authority, role, cluster, now=datetime.fromtimestamp(NOW, UTC), extra_names=names)


class World:
    """Everything.

    Args:
        seed: Of the history.
        spec: Of the cluster; of the seed's choice without it.
        wild: Whether operators are several, their first lists old, and their own writes unseen. Then there may for a moment be
            more workers than are wanted; in a careful world never.
    """

    def __init__(self, seed: int, *, spec: dict[str, Any] | None = None, wild: bool = False) -> None:
        self.chance, self.wild, self.now = random.Random(seed), wild, NOW
        self.server = Server()
        self.machines = Machines(self.server, self.chance, hosts=3)
        self.makes = Makes()
        self.truth: dict[str, str] | None = None
        self._born = 0
        self.operators: list[Operator] = []
        self.writes = 0
        raw = cluster(*(spec["workerGroups"] if spec else [self.a_group(name) for name in GROUPS[:2]]))
        if spec:
            raw["spec"] = plain(spec)
        raw["metadata"]["creationTimestamp"] = at(self.now)
        self.server.put("mantaclusters", raw)
        self.start()
        if wild:
            self.start()

    def a_group(self, name: str) -> dict[str, Any]:
        return group(name, self.chance.randint(0, 3))

    @property
    def raw(self) -> Manifest:
        return self.server.objects["mantaclusters"][CLUSTER]

    def start(self, *, fresh: bool = False) -> None:
        """An operator starts, with a list that is old where the world is wild."""
        back = self.chance.choice((0, 3, 20)) if self.wild and not fresh else 0
        self.operators.append(
            Operator(
                self.server,
                self.machines,
                self.chance,
                self.makes,
                lambda: self.now,
                self.check_write,
                back=back,
                careful=not self.wild,
            )
        )

    def run(self, rounds: int) -> None:
        """A history with faults."""
        for _ in range(rounds):
            self.now += self.chance.choice((0.1, 1.0, 1.0, 5.0, 30.0))
            self.machines.step(self.now, eager=0.4)
            self._collect(0.5)
            if self.chance.random() < 0.25:
                self.chance.choice(self.FAULTS)(self)
            for operator in self.operators:
                operator.look(0.5)
                for _ in range(self.chance.randint(0, 8)):
                    operator.step()
            if self.chance.random() < 0.05:
                # It ends between two writes; another one starts.
                self.operators.pop(0)
                self.start()
            self.check()

    def settle(self, limit: int = 600) -> None:
        """No faults any more, until nobody has anything to do."""
        self.heal()
        still = 0
        for _ in range(limit):
            version = self.server.version
            self.machines.step(self.now, eager=1.0)
            self._collect(1.0)
            for operator in self.operators:
                operator.look(1.0)
                while not operator.idle:
                    operator.step()
                    self.check()
            still = still + 1 if self.server.version == version else 0
            due = [operator.again_at for operator in self.operators if operator.again_at is not None]
            if still >= 3 and all(one > self.now + 3600 for one in due):
                return
            self.now += 5.0 if still < 3 else max(1.0, min([*due, self.now + 600]) - self.now)
        raise AssertionError(f"does not come to rest: {self.operators[0].decide()}")

    def heal(self) -> None:
        """Whatever is broken is put right, and strangers take theirs away."""
        self.server.quota, self.machines.refuses = None, False
        for one in self.raw["spec"]["workerGroups"]:
            if one["replicas"] < 0:
                self._set_spec(workerGroups=[])
        for host in list(self.machines.hosts.values()):
            if not host.kubelet:
                self.chance.choice((lambda h: self.machines.start(h, self.now), self.machines.remove))(host)
        if not self.machines.hosts:
            self.machines.__init__(self.server, self.chance, hosts=2)  # type: ignore[misc]
        for name, pod in list(self.server.objects["pods"].items()):
            if not pod["metadata"].get("ownerReferences"):
                self.server.gone("pods", name)

    # What may happen.

    def change_spec(self) -> None:
        """The user wants something else."""
        raw = self.server.change("mantaclusters", CLUSTER)
        spec = raw["spec"]
        match self.chance.choice(
            ("replicas", "replicas", "replicas", "groups", "image", "suspend", "type", "env", "head", "restart")
        ):
            case "replicas":
                for one in spec["workerGroups"]:
                    one["replicas"] = self.chance.randint(0, 4)
            case "groups":
                names = self.chance.sample(GROUPS, self.chance.randint(0, 3))
                there = {one["name"]: one for one in spec["workerGroups"]}
                spec["workerGroups"] = [there.get(name) or self.a_group(name) for name in names]
            case "image":
                spec["image"] = f"manta:{self.chance.randint(1, 3)}"
            case "suspend":
                spec["suspend"] = not spec.get("suspend", False)
            case "type":
                spec["upgradeStrategy"] = {"type": self.chance.choice(("Recreate", "Recreate", "OnDelete"))}
            case "env" if spec["workerGroups"]:
                self.chance.choice(spec["workerGroups"])["labels"] = {"a": str(self.chance.randint(1, 3))}
            case "head":
                spec["head"] = {"service": {"annotations": {"a": str(self.chance.randint(1, 3))}}}
            case "restart":
                raw["metadata"]["annotations"] = {"manta.compute/restart": str(self.now)}
        raw["metadata"]["generation"] += 1
        self.server.put("mantaclusters", raw)

    def _set_spec(self, **spec: Any) -> None:
        raw = self.server.change("mantaclusters", CLUSTER)
        raw["spec"] |= spec
        raw["metadata"]["generation"] += 1
        self.server.put("mantaclusters", raw)

    def broken_spec(self) -> None:
        """A spec that nobody can read: written by an older definition, or by none."""
        self._set_spec(workerGroups=[group("w", -1)])

    def made_anew(self) -> None:
        """The cluster is deleted, and another one of its name is made; what the first one had goes, sooner or later."""
        self.truth, self._born = None, self._born + 1
        raw = self.server.change("mantaclusters", CLUSTER)
        self.server.gone("mantaclusters", CLUSTER)
        raw["metadata"] |= {"uid": f"cluster-uid-{self._born}", "generation": 1, "creationTimestamp": at(self.now)}
        raw.pop("status", None)
        self.server.put("mantaclusters", raw)

    def _collect(self, eager: float) -> None:
        """What has an owner that is no more is deleted."""
        uid = self.raw["metadata"]["uid"]
        for kind, objects in self.server.objects.items():
            for name, obj in list(objects.items()):
                owners = obj["metadata"].get("ownerReferences") or ()
                if any(one["uid"] != uid for one in owners) and self.chance.random() < eager:
                    self.server.delete(kind, name, obj["metadata"]["uid"], "", self.now)

    def control_is_ill(self) -> None:
        """It does not answer the operator for a while, or nobody; or it refuses drains."""
        match self.chance.choice(("deaf", "down", "refuses")):
            case "deaf":
                self.machines.deaf_until = self.now + self.chance.choice((5, 300))
            case "down":
                self.machines.down_until = self.now + self.chance.choice((5, 120))
            case "refuses":
                self.machines.refuses = not self.machines.refuses

    def pod_ends(self) -> None:
        """A pod fails, or is evicted."""
        if name := self._a_pod():
            pod = self.server.change("pods", name)
            pod["status"] |= {"phase": self.chance.choice(("Failed", "Failed", "Succeeded")), "reason": "Evicted"}
            pod["status"]["conditions"] = []
            self.server.put("pods", pod)

    def pod_deleted(self) -> None:
        """Somebody deletes one."""
        if name := self._a_pod():
            self.server.delete("pods", name, "", "", self.now)

    def host_fails(self) -> None:
        """A kubelet stops, alone or with its node; or a failed node comes back, is deleted or given up."""
        if not self.machines.hosts:
            return
        host = self.chance.choice(list(self.machines.hosts.values()))
        if host.kubelet:
            self.machines.stop(host, self.now, power=self.chance.random() < 0.5)
            return
        match self.chance.choice(("back", "back", "deleted", "tainted")):
            case "back":
                self.machines.start(host, self.now)
            case "deleted" if len(self.machines.hosts) > 1:
                self.machines.remove(host)
            case "tainted":
                host.power = False
                there = self.server.change("nodes", host.name)
                there["spec"] = {"taints": [{"key": "node.kubernetes.io/out-of-service"}]}
                self.server.put("nodes", there)

    def stranger_edits(self) -> None:
        """Somebody changes or deletes what is ours."""
        match self.chance.choice(("service", "service gone", "secret gone", "label")):
            case "service" if services := list(self.server.objects["services"]):
                service = self.server.change("services", self.chance.choice(services))
                service["spec"]["ports"] = [{"name": "evil", "port": 1}]
                self.server.put("services", service)
            case "service gone" if services := list(self.server.objects["services"]):
                self.server.gone("services", self.chance.choice(services))
            case "secret gone" if secrets := [one for one in self.server.objects["secrets"] if one != AUTHORITY]:
                self.server.gone("secrets", self.chance.choice(secrets))
            case "label" if name := self._a_pod():
                pod = self.server.change("pods", name)
                pod["metadata"]["labels"]["manta.compute/revision"] = "else"
                self.server.put("pods", pod)

    def stranger_comes(self) -> None:
        """Somebody has a pod with a name that could be ours."""
        name = self.chance.choice((HEAD, f"{CLUSTER}-w-{self.chance.randint(0, 4)}"))
        if name not in self.server.objects["pods"] and self.server.quota is None:
            pod = {"metadata": {"name": name, "namespace": "default", "labels": {}}, "spec": {"containers": []}}
            self.server.create("pods", pod, self.now)

    def quota(self) -> None:
        """There may be no more pods than so many; or again as many as one likes."""
        self.server.quota = None if self.server.quota else self.chance.randint(0, 6)

    FAULTS = (
        change_spec,
        change_spec,
        change_spec,
        pod_ends,
        pod_deleted,
        host_fails,
        stranger_edits,
        stranger_comes,
        quota,
        broken_spec,
        made_anew,
        control_is_ill,
    )

    def _a_pod(self) -> str:
        pods = [one for one, pod in self.server.objects["pods"].items() if "ownerReferences" in pod["metadata"]]
        return self.chance.choice(pods) if pods else ""

    # What must be so.

    def check_write(self, operator: Operator, action: Create | Apply | Delete) -> None:
        """Before each write."""
        self.writes += 1
        kind, name = action.resource.plural, action.name
        if isinstance(action, Create):
            there = self.server.objects[kind].get(name)
            if kind == "pods" and name != HEAD and there is None and not self.wild:
                self._not_too_many(operator, action)
            return
        if kind == "secrets" and name == AUTHORITY:
            raise AssertionError("the authority is made once, and nobody has asked for another")
        there = self.server.objects[kind].get(name)
        if there is None or there["metadata"]["uid"] != action.uid:
            return  # refused, or looked at before anything is applied
        owners = there["metadata"].get("ownerReferences") or ()
        assert any(one["uid"] == (operator.seen or self).raw["metadata"]["uid"] for one in owners), (
            f"{kind} {name} is a stranger's: {owners}, {action}"
        )
        if isinstance(action, Delete) and kind == "pods" and name != HEAD:
            self._not_undrained(operator, action, there)

    def _not_too_many(self, operator: Operator, action: Create) -> None:
        """A careful operator never makes more workers than are wanted, those that go as long as they are not deleted included."""
        assert operator.seen is not None
        spec = operator.seen.raw["spec"]
        if operator.seen.uid != self.raw["metadata"]["uid"]:
            return  # of a cluster that is no more: it goes as it came
        desired = next((one["replicas"] for one in spec["workerGroups"] if one["name"] == action.group), 0)
        now = [
            one["metadata"]["name"]
            for one in self.server.objects["pods"].values()
            if one["metadata"]["name"].startswith(f"{CLUSTER}-{action.group}-")
            and (one["metadata"].get("ownerReferences") or [{}])[0].get("uid") == operator.seen.uid
            and "deletionTimestamp" not in one["metadata"]
            and one["status"]["phase"] in ("Pending", "Running")
            and self._answers(one, operator)
        ]
        assert len(now) < desired, f"{action.name} would be one more than {desired}: {now}"

    def _answers(self, pod: Manifest, operator: Operator) -> bool:
        """Whether a pod's node is there for everybody, so that the pod counts."""
        name = pod["spec"].get("nodeName")
        if name is None:
            return True
        host, seen = self.machines.hosts.get(name), operator.copies.objects["nodes"].get(name)
        taints = seen["spec"].get("taints") if seen else None
        ready = seen is not None and seen["status"]["conditions"][0]["status"] == "True"
        return host is not None and host.kubelet and ready and not taints

    def _not_undrained(self, operator: Operator, action: Delete, there: Manifest) -> None:
        """A worker that does its work is not deleted before control has drained it, or has had the time to."""
        metadata = there["metadata"]
        if (metadata["uid"], metadata["resourceVersion"]) != (action.uid, action.version):
            return  # refused
        if action.live and operator.seen and operator.seen.generation != self.raw["metadata"]["generation"]:
            return  # not sent
        if self.raw["spec"].get("suspend") or there["status"]["phase"] not in ("Pending", "Running"):
            return
        raylets = [one for one in self.machines.raylets.values() if one.pod_uid == action.uid]
        working = [one for one in raylets if one.alive and (one.drain is Drain.NONE or self.now < one.deadline)]
        drained = any(one.drain is Drain.DRAINED for one in raylets)
        since = operator.silent_since
        silent = not self.machines.control_up or (since is not None and self.now >= since + SILENT_S)
        if silent or drained or not self._answers(there, operator):
            return
        assert not working, f"{action.name} is deleted ({action.why}) while it works: {working}"

    def check(self) -> None:
        """At every moment: keys and tokens are those that were made first."""
        secret = self.server.objects["secrets"].get(AUTHORITY)
        if secret is not None and secret["metadata"]["ownerReferences"][0]["uid"] == self.raw["metadata"]["uid"]:
            self.truth = self.truth or secret["data"]
            assert secret["data"] == self.truth, "authority or tokens changed"

    def check_done(self) -> None:
        """At rest: everything is as the spec wants it, and a new operator with a fresh look has nothing to do either."""
        self.start(fresh=True)
        made = self.operators[-1].decide()
        assert made.at_rest, made
        seen, spec = self.operators[-1].seen, self.raw["spec"]
        assert seen is not None
        parsed = parse_cluster(self.raw)
        present = [pod for pod in pods_of(seen, self.now) if pod.standing is Standing.PRESENT]
        assert len(present) == len(seen.pods), [pod["metadata"]["name"] for pod in seen.pods]
        wanted = {one["name"]: one["replicas"] for one in spec["workerGroups"] if one["replicas"]} | {"head": 1}
        there: dict[str, int] = {}
        for pod in present:
            assert pod.ready, pod.name
            there[pod.group] = there.get(pod.group, 0) + 1
        assert there == ({} if spec.get("suspend") else wanted)
        for obj in applied(parsed, Build()):
            kinds = {"Service": "services", "NetworkPolicy": "networkpolicies", "ServiceAccount": "serviceaccounts"}
            assert obj["metadata"]["name"] in self.server.objects[kinds[obj["kind"]]]

    def normal(self) -> dict[str, Any]:
        """The end state without what differs between two histories: times, numbers, whatever is left of former failures."""
        status = plain(self.raw["status"])
        for one in status["conditions"]:
            one.pop("lastTransitionTime")
            one.pop("observedGeneration")
            one.pop("message")
        status.pop("observedGeneration")
        status["head"].pop("restarts")
        pods: dict[str, list[Any]] = {}
        for name, pod in self.server.objects["pods"].items():
            spec = plain(pod["spec"])
            spec.pop("nodeName", None)
            pods.setdefault(name.rpartition("-")[0], []).append(
                (pod["metadata"]["labels"] | {"manta.compute/slot": ""}, spec)
            )
        kept = {
            kind: {name: _plain(obj) for name, obj in self.server.objects[kind].items()}
            for kind in ("services", "networkpolicies", "serviceaccounts", "persistentvolumeclaims")
        }
        secrets = {name: sorted(obj["data"]) for name, obj in self.server.objects["secrets"].items()}
        return {"status": status, "pods": pods, "secrets": secrets, **kept}


def _plain(obj: Manifest) -> Manifest:
    metadata = {name: value for name, value in obj["metadata"].items() if name in ("name", "labels", "annotations")}
    return {**obj, "metadata": metadata}
