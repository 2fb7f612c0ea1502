"""The operator around its decision: reads, one plan, one write after the other; it may end between any two of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.parse import InvalidObjectError, parse_cluster
from manta_operator.builders.build import Build
from manta_operator.cluster.actions import Apply, Create, Delete, DrainNode, Plan
from manta_operator.cluster.children import belongs
from manta_operator.cluster.plan import plan
from manta_operator.cluster.refusals import Refusal, Why, why_of
from manta_operator.cluster.seen import Seen
from manta_operator.credentials.making import Makes
from manta_operator.kube.errors import ApiError
from manta_operator.kube.events import Event
from manta_operator.kube.ownership import Taken, whose
from tests.sim.reconciling.machines import Machines
from tests.sim.reconciling.server import KINDS, Copies, Server
from tests.support.kubernetes import CLUSTER

#: Told before each write what is about to be written, and from which view.
Watch = Callable[["Operator", Create | Apply | Delete], None]


class Operator:
    """One instance.

    Args:
        server: Whom it reads and writes.
        machines: Where control is.
        chance: How late it sees things.
        makes: Keys and tokens.
        clock: The time.
        watch: See `Watch`.
        back: How many changes of each kind its first list lacks.
        careful: Whether it waits until it sees what it has itself written.
    """

    def __init__(
        self,
        server: Server,
        machines: Machines,
        chance: random.Random,
        makes: Makes,
        clock: Callable[[], float],
        watch: Watch,
        *,
        back: int = 0,
        careful: bool = True,
    ) -> None:
        self.server, self.machines, self.chance, self.makes = server, machines, chance, makes
        self.clock, self.watch, self.careful = clock, watch, careful
        self.copies = Copies(server, back)
        self.refusals: dict[tuple[str, str], Refusal] = {}
        self.checked: dict[str, str] = {}
        self.silent_since: float | None = None
        self.again_at: float | None = 0.0
        self.seen: Seen | None = None
        self.events: list[Event] = []
        self._wrote = dict.fromkeys(KINDS, 0)
        self._running: Iterator[None] | None = None
        self._dirty = True
        self._cluster: MantaCluster | InvalidObjectError

    def look(self, eager: float) -> None:
        """See some of what has changed."""
        for kind in KINDS:
            if self.chance.random() < eager:
                self._dirty |= self.copies.advance(kind, self.chance.randint(1, 5) if eager < 1 else 10_000)

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do: nothing is new, and nothing is due."""
        due = self.again_at is not None and self.clock() >= self.again_at
        return self._running is None and not self._dirty and not due

    def step(self) -> None:
        """Begin, or go on to the next write."""
        if self._running is None:
            if self.idle:
                return
            self._running = self._reconcile()
        if next(self._running, "over") == "over":
            self._running = None

    def decide(self) -> Plan:
        """The plan for what it sees now."""
        self.seen = self._gather()
        return plan(self.seen, self.clock(), Build(), self.makes)

    def _reconcile(self) -> Iterator[None]:
        if self.careful:
            for kind, version in self._wrote.items():
                self.copies.reach(kind, version)
        self._dirty = False
        if CLUSTER not in self.copies.objects["mantaclusters"]:
            self.again_at = None
            return
        made = self.decide()
        self.again_at = made.again_at
        yield
        for action in (*made.applies, *made.creates, *made.deletes):
            self.watch(self, action)
            try:
                self._do(action)
            except ApiError as error:
                self._refused(action, why_of(error), str(error))
            yield
        for drain in made.drains:
            self._drain(drain)
            yield
        for check in made.checks:
            self.checked[check.revision] = ""
            self._dirty = True
        if made.status is not None and self._is_live(generation=False):
            there = self.server.change("mantaclusters", CLUSTER)
            there["status"] = made.status.status
            self._wrote["mantaclusters"] = int(self.server.put("mantaclusters", there)["metadata"]["resourceVersion"])
            self.events += made.events

    def _gather(self) -> Seen:
        objects = self.copies.objects
        raw = objects["mantaclusters"][CLUSTER]
        if self.seen is None or self.seen.raw is not raw:
            try:
                self._cluster = parse_cluster(raw)
            except InvalidObjectError as error:
                self._cluster = error
        if self.machines.control_answers:
            self.silent_since = None
        elif self.silent_since is None:
            self.silent_since = self.clock()
        return Seen(
            raw=raw,
            cluster=self._cluster,
            pods=tuple(objects["pods"].values()),
            secrets=tuple(objects["secrets"].values()),
            services=tuple(objects["services"].values()),
            claims=tuple(objects["persistentvolumeclaims"].values()),
            policies=tuple(objects["networkpolicies"].values()),
            accounts=tuple(objects["serviceaccounts"].values()),
            nodes=objects["nodes"],
            control=self.machines.control(self.silent_since or 0.0),
            refusals=tuple(self.refusals.values()),
            checked=self.checked,
        )

    def _is_live(self, *, generation: bool) -> bool:
        assert self.seen is not None
        live = self.server.objects["mantaclusters"].get(CLUSTER)
        if live is None or live["metadata"]["uid"] != self.seen.uid:
            return False
        return not generation or live["metadata"]["generation"] == self.seen.generation

    def _do(self, action: Create | Apply | Delete) -> None:
        kind, now = action.resource.plural, self.clock()
        match action:
            case Delete():
                if not action.live or self._is_live(generation=True):
                    self.server.delete(kind, action.name, action.uid, action.version, now, at_once=action.grace_s == 0)
                    self._wrote[kind] = self.server.version
                else:
                    self._dirty = True
                return
            case Create():
                there = self.server.objects[kind].get(action.name)
                if there is not None:
                    taken = whose(there, action.manifest)
                    if taken is Taken.FOREIGN:
                        self._refused(action, Why.NAME_TAKEN, "it is somebody else's")
                    return
                made = self.server.create(kind, action.manifest, now)
            case Apply():
                there = self.server.objects[kind].get(action.name)
                if not action.uid and there is not None and not belongs(there, action.manifest):
                    self._refused(action, Why.NAME_TAKEN, "it is somebody else's")
                    return
                made = self.server.apply(kind, action.manifest, action.uid, action.version, now)
        self.refusals.pop((kind, action.name), None)
        self._wrote[kind] = int(made["metadata"]["resourceVersion"])

    def _drain(self, drain: DrainNode) -> None:
        if not drain.live or self._is_live(generation=True):
            self.machines.drain(drain.node, drain.grace_s, self.clock())

    def _refused(self, action: Create | Apply | Delete, why: Why, message: str) -> None:
        assert self.seen is not None
        key = (action.resource.plural, action.name)
        fresh = Refusal(
            plural=key[0],
            name=key[1],
            why=why,
            message=message,
            at=self.clock(),
            generation=self.seen.generation,
            group=action.group if isinstance(action, Create) else "",
        )
        before = self.refusals.get(key)
        self.refusals[key] = replace(fresh, count=before.count + 1) if before and before.why is why else fresh
        self._dirty = True
