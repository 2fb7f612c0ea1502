"""The table of placement groups: from the wish through two phases to the end.

First every node that is to have bundles holds them back, or one refuses and all give back; then, written down, they are opened.
A node that dies takes its bundles with it: those, and no others, are placed again. One that is drained has its bundles placed
again at once, as nothing new would run in them; what runs in them there goes on, until it ends or the group does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from manta.control.commands import Command, CommitOnNode, PrepareOnNode, ReturnOnNode, Table, Write
from manta.control.errors import GroupAlreadyExistsError, GroupNotFoundError, LimitExceededError
from manta.control.events import BundlesAnswered, BundlesOpened
from manta.control.groups.model import Group, GroupId, GroupState
from manta.control.groups.packing import pack
from manta.control.model import NO_NODE, ActorId, Instant, JobId, NodeId, NodeState, WorkerId
from manta.control.nodes import NodeTable
from manta.control.stories import Stories

#: Groups that live, and removed ones remembered.
LIVING_LIMIT = 100_000
REMOVED_KEPT = 1000
#: A node that refused may have room soon: first and longest pause before the next try, seconds.
AGAIN_S = 0.1
LONGEST_AGAIN_S = 5.0


@dataclass(slots=True)
class _Try:
    """One try to hold a group's bundles that are nowhere."""

    number: int
    nodes: dict[NodeId, list[int]]
    accepted: set[NodeId] = field(default_factory=set)


class GroupTable:
    """Placement groups by id."""

    def __init__(self, nodes: NodeTable, stories: Stories) -> None:
        self._nodes = nodes
        self._stories = stories
        self.rows: dict[GroupId, Group] = {}
        self._names: dict[tuple[str, str], GroupId] = {}
        self._removed: OrderedDict[GroupId, None] = OrderedDict()
        #: Those with bundles that are nowhere and not being tried, the first come first; and when one that was refused is due.
        self._waiting: OrderedDict[GroupId, float] = OrderedDict()
        self._refusals: dict[GroupId, int] = {}
        self._tries: dict[GroupId, _Try] = {}
        #: Of those that are PREPARED: the number of the present opening, and nodes that have not said that theirs are open.
        self._opening: dict[GroupId, tuple[int, set[NodeId]]] = {}
        #: Bundles on nodes that are drained, which are placed elsewhere by now; something may run in them.
        self._behind: dict[GroupId, dict[NodeId, list[int]]] = {}
        self._attempts = 0

    # ---- reading

    def get(self, group_id: GroupId) -> Group:
        """The group.

        Raises:
            GroupNotFoundError: None such is remembered.
        """
        row = self.rows.get(group_id)
        if row is None:
            raise GroupNotFoundError(f"placement group {group_id.hex()} is not known")
        return row

    def named(self, name: str, namespace: str) -> Group:
        """The living group of a name.

        Raises:
            GroupNotFoundError: There is none.
        """
        group_id = self._names.get((name, namespace))
        if group_id is None:
            raise GroupNotFoundError(f"no placement group is named {name!r} in namespace {namespace!r}")
        return self.rows[group_id]

    def next_due(self) -> float | None:
        """When a Tick may change something; None if nothing waits for time."""
        return min((due for due in self._waiting.values() if due), default=None)

    # ---- what happens

    def restore(self, row: Group, out: list[Command], cause: str) -> None:
        """Take a row from the store. What nodes hold of it they say when they register; opening is said again."""
        self.rows[row.group_id] = row
        if row.state is GroupState.REMOVED:
            self._removed[row.group_id] = None
            # The one before may have died before every node had heard of it.
            self._nodes.cluster.group_gone(row.group_id)
            return
        if row.name:
            self._names[row.name, row.namespace] = row.group_id
        if row.missing:
            self._waiting[row.group_id] = 0.0
        elif row.state is GroupState.PREPARED:
            self._open(row, out, cause)

    def create(self, row: Group, now: Instant, out: list[Command], cause: str) -> GroupId:
        """A new group; the one that has the id already is left as it is."""
        if row.group_id in self.rows:
            return row.group_id
        if row.name and (row.name, row.namespace) in self._names:
            raise GroupAlreadyExistsError(f"a placement group named {row.name!r} exists already in this namespace")
        if len(self.rows) - len(self._removed) >= LIVING_LIMIT:
            raise LimitExceededError(f"{LIVING_LIMIT} placement groups exist; remove some")
        row = replace(row, state=GroupState.PENDING, nodes=(NO_NODE,) * len(row.bundles), created_unix_ms=now.unix_ms)
        if row.name:
            self._names[row.name, row.namespace] = row.group_id
        self._waiting[row.group_id] = 0.0
        self._commit(row, out)
        self._stories.tell(now.s, cause, f"group of {len(row.bundles)} bundles wanted", row.group_id, row.job_id)
        self._place(row.group_id, now, out, cause)
        return row.group_id

    def place_waiting(self, now: Instant, out: list[Command], cause: str) -> None:
        """Room may have appeared."""
        for group_id, due in list(self._waiting.items()):
            if due <= now.s:
                self._place(group_id, now, out, cause)

    def _place(self, group_id: GroupId, now: Instant, out: list[Command], cause: str) -> None:
        if self._nodes.recovering:
            return
        row = self.rows[group_id]
        found = pack(row, self._nodes.views())
        if isinstance(found, str):
            if found != row.waiting_reason:
                self._commit(replace(row, waiting_reason=found), out)
            self._waiting[group_id] = 0.0
            return
        del self._waiting[group_id]
        by_node: dict[NodeId, list[int]] = {}
        for index, node_id in sorted(found.items()):
            by_node.setdefault(node_id, []).append(index)
            self._nodes.placed(node_id, _account(group_id, index), row.bundles[index], row.bundles[index])
        self._attempts += 1
        self._tries[group_id] = _Try(self._attempts, by_node)
        for node_id, indexes in by_node.items():
            bundles = {index: row.bundles[index] for index in indexes}
            out.append(PrepareOnNode(node_id, group_id, self._attempts, bundles, cause))

    def answered(self, event: BundlesAnswered, now: Instant, out: list[Command]) -> None:
        """A node holds its bundles, or does not."""
        node_id, group_id, attempt, cause = event.node_id, event.group_id, event.attempt, event.cause
        accepted, reason, available = event.accepted, event.reason, event.available
        current = self._tries.get(group_id)
        if current is None or current.number != attempt or node_id not in current.nodes:
            return
        row = self.rows[group_id]
        if not accepted:
            self._stories.tell(now.s, cause, f"node {node_id.hex()[:8]} refused bundles: {reason}", group_id)
            refusals = self._refusals.get(group_id, 0)
            self._refusals[group_id] = refusals + 1
            self._give_up(row, out, cause)
            self._waiting[group_id] = now.s + min(LONGEST_AGAIN_S, AGAIN_S * 2 ** min(refusals, 10))
            if available is not None:
                self._nodes.reported(node_id, available)
            return
        current.accepted.add(node_id)
        for index in current.nodes[node_id]:
            self._nodes.started(node_id, _account(group_id, index), row.bundles[index])
        if available is not None:
            self._nodes.reported(node_id, available)
        if len(current.accepted) < len(current.nodes):
            return
        del self._tries[group_id]
        self._refusals.pop(group_id, None)
        nodes = list(row.nodes)
        for at, indexes in current.nodes.items():
            for index in indexes:
                nodes[index] = at
        row = replace(row, nodes=tuple(nodes), state=GroupState.PREPARED, waiting_reason="")
        self._commit(row, out)
        self._open(row, out, cause)

    def _open(self, row: Group, out: list[Command], cause: str) -> None:
        places = {node_id: row.on(node_id) for node_id in row.nodes}
        self._attempts += 1
        self._opening[row.group_id] = self._attempts, set(places)
        for node_id, indexes in places.items():
            out.append(CommitOnNode(node_id, row.group_id, self._attempts, tuple(indexes), cause))

    def opened(self, event: BundlesOpened, now: Instant, out: list[Command]) -> None:
        """A node has opened its bundles. Of an earlier opening, before bundles moved, it says nothing of those it got since."""
        number, left = self._opening.get(event.group_id, (0, set()))
        if number != event.attempt or event.node_id not in left:
            return
        left.discard(event.node_id)
        if not left:
            del self._opening[event.group_id]
            self._commit(replace(self.rows[event.group_id], state=GroupState.CREATED), out)
            self._stories.tell(now.s, event.cause, "group created", event.group_id)

    def _give_up(self, row: Group, out: list[Command], cause: str) -> None:
        """Undo the present try: also where nothing was said yet, the order may be on its way."""
        current = self._tries.pop(row.group_id, None)
        if current is None:
            return
        for node_id, indexes in current.nodes.items():
            for index in indexes:
                self._nodes.left(node_id, _account(row.group_id, index))
            if self._nodes.is_alive(node_id):
                out.append(ReturnOnNode(node_id, row.group_id, tuple(indexes), cause))

    def node_registered(self, node_id: NodeId) -> None:
        """A node is there (again): what is held there is in its accounts."""
        for row in list(self.rows.values()):
            for index in row.on(node_id):
                self._nodes.adopted(node_id, _account(row.group_id, index), row.bundles[index])

    def unwanted(self, node_id: NodeId, held: Mapping[GroupId, list[int]]) -> dict[GroupId, list[int]]:
        """What of it a node should give back."""
        found: dict[GroupId, list[int]] = {}
        for group_id, indexes in held.items():
            row = self.rows.get(group_id)
            current = self._tries.get(group_id)
            trying = current.nodes.get(node_id, []) if current is not None else []
            gone = [
                index
                for index in indexes
                if index not in trying and (row is None or index >= len(row.nodes) or row.nodes[index] != node_id)
            ]
            if not gone:
                continue
            node = self._nodes.rows.get(node_id)
            if row is not None and row.state is not GroupState.REMOVED and node is not None and node.drain is not None:
                self._behind.setdefault(group_id, {})[node_id] = gone
            else:
                found[group_id] = gone
        return found

    def node_drained(self, node_id: NodeId, now: Instant, out: list[Command], cause: str) -> None:
        """It takes nothing new: what it held of groups is placed again, and kept there for what runs in it."""
        for group_id, indexes in self._placed_again(node_id, "that is drained", now, out, cause).items():
            self._behind.setdefault(group_id, {})[node_id] = indexes
            for index in indexes:
                self._nodes.left(node_id, _account(group_id, index))

    def node_died(self, node_id: NodeId, now: Instant, out: list[Command], cause: str) -> None:
        """What it held of groups is placed again."""
        self._placed_again(node_id, "that died", now, out, cause)
        for group_id, nodes in list(self._behind.items()):
            if nodes.pop(node_id, None) is not None and not nodes:
                del self._behind[group_id]

    def _placed_again(
        self, node_id: NodeId, what: str, now: Instant, out: list[Command], cause: str
    ) -> dict[GroupId, list[int]]:
        """Every bundle on a node needs another place; which those are."""
        found: dict[GroupId, list[int]] = {}
        for group_id, row in list(self.rows.items()):
            current = self._tries.get(group_id)
            if current is not None and node_id in current.nodes:
                self._give_up(row, out, cause)
                self._waiting[group_id] = 0.0
            lost = row.on(node_id)
            if not lost or row.state is GroupState.REMOVED:
                continue
            nodes = tuple(NO_NODE if at == node_id else at for at in row.nodes)
            self._opening.pop(group_id, None)
            self._commit(replace(row, nodes=nodes, state=GroupState.RESCHEDULING), out)
            self._stories.tell(now.s, cause, f"{len(lost)} bundles lost with node {node_id.hex()[:8]} {what}", group_id)
            if group_id not in self._tries:
                self._waiting[group_id] = 0.0
            found[group_id] = lost
        return found

    def remove(self, group_id: GroupId, now: Instant, out: list[Command], cause: str) -> bool:
        """End a group; False if there is nothing to end."""
        row = self.rows.get(group_id)
        if row is None or row.state is GroupState.REMOVED:
            return False
        self._give_up(row, out, cause)
        self._waiting.pop(group_id, None)
        self._opening.pop(group_id, None)
        self._refusals.pop(group_id, None)
        for node_id in dict.fromkeys(node_id for node_id in row.nodes if node_id):
            for index in row.on(node_id):
                self._nodes.left(node_id, _account(group_id, index))
            self._give_back(node_id, group_id, row.on(node_id), out, cause)
        for node_id, indexes in self._behind.pop(group_id, {}).items():
            self._give_back(node_id, group_id, indexes, out, cause)
        if row.name:
            self._names.pop((row.name, row.namespace), None)
        row = replace(
            row,
            state=GroupState.REMOVED,
            nodes=(NO_NODE,) * len(row.bundles),
            waiting_reason="",
            ended_unix_ms=now.unix_ms,
        )
        self._commit(row, out)
        self._removed[group_id] = None
        self._nodes.cluster.group_gone(group_id)
        self._stories.tell(now.s, cause, "group removed", group_id)
        while len(self._removed) > REMOVED_KEPT:
            oldest, _ = self._removed.popitem(last=False)
            del self.rows[oldest]
            out.append(Write(Table.GROUPS, oldest, None))
        return True

    def _give_back(
        self, node_id: NodeId, group_id: GroupId, indexes: list[int], out: list[Command], cause: str
    ) -> None:
        """Have a node give bundles back: also one that is expected, not one that is dead, which would never answer."""
        node = self._nodes.rows.get(node_id)
        if node is not None and node.state is not NodeState.DEAD:
            out.append(ReturnOnNode(node_id, group_id, tuple(indexes), cause))

    def of_job(self, job_id: JobId) -> list[GroupId]:
        """Living groups that end with a job."""
        return self._living(lambda row: row.job_id == job_id and not row.detached)

    def of_owners(self, owners: frozenset[WorkerId]) -> list[GroupId]:
        """Living groups that end with these processes."""
        return self._living(lambda row: row.owner in owners and not row.detached)

    def _living(self, wanted: Callable[[Group], bool]) -> list[GroupId]:
        return [group_id for group_id, row in self.rows.items() if row.state is not GroupState.REMOVED and wanted(row)]

    def _commit(self, row: Group, out: list[Command]) -> None:
        self.rows[row.group_id] = row
        out.append(Write(Table.GROUPS, row.group_id, row))

    # ---- about itself

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        for group_id, row in self.rows.items():
            assert row.group_id == group_id
            assert len(row.nodes) == len(row.bundles)
            assert (row.state is GroupState.REMOVED) == (group_id in self._removed)
            if row.state is GroupState.REMOVED:
                assert group_id not in self._waiting
                assert group_id not in self._tries
                continue
            if row.missing:
                assert (group_id in self._waiting) != (group_id in self._tries), "it waits, or is tried"
            else:
                assert group_id not in self._waiting
                assert group_id not in self._tries
                assert row.state in (GroupState.PREPARED, GroupState.CREATED)
            assert (row.state is GroupState.PREPARED) == (group_id in self._opening)
        for group_id, nodes in self._behind.items():
            assert nodes, "no empty files"
            assert self.rows[group_id].state is not GroupState.REMOVED, "what is left behind goes with its group"
            assert all(self._nodes.rows[node_id].drain is not None for node_id in nodes), "only drained nodes are left"
        assert set(self._tries) <= set(self.rows)
        assert set(self._names.values()) <= set(self.rows)

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {
            "groups_living": len(self.rows) - len(self._removed),
            "groups_waiting": len(self._waiting) + len(self._tries),
        }


def _account(group_id: GroupId, index: int) -> ActorId:
    """The name under which a bundle stands in a node's accounts; longer than an actor's."""
    return ActorId(group_id + index.to_bytes(4, "big"))
