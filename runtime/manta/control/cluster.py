"""What every node is told of the others: who is there, and what is free where. Versioned, so that only what changed travels.

Per node this is two numbers here and one per line: a line says how far it has been told, and what came since is found from the
end of one list that is kept in the order of change. Of nodes that are gone only the last are remembered; whoever has missed
more starts anew.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from manta.control.groups.model import GroupId
from manta.control.model import NodeId

#: Dead nodes remembered for those who have not heard of them.
GONE_KEPT = 1000
#: By this a group's id is told from a node's.
GROUP_ID_BYTES = 18


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed between two versions.

    Attributes:
        version: Where who is told this stands.
        anew: It is all there is, not only what has changed.
        facts: Nodes that are new, or of which more than what is free has changed.
        free: Nodes of which only what is free has changed.
        gone: Nodes that are dead; with `anew`, all that are remembered.
        groups: Placement groups that were removed; with `anew`, all that are remembered.
    """

    version: int
    anew: bool
    facts: tuple[NodeId, ...]
    free: tuple[NodeId, ...]
    gone: tuple[NodeId, ...] = ()
    groups: tuple[GroupId, ...] = ()


class ClusterBook:
    """When what was last said of each node changed."""

    def __init__(self, gone_kept: int = GONE_KEPT) -> None:
        self.version = 0
        #: Version at which somebody last came, went, or was not what it was: not only what is free there.
        self.facts_version = 0
        #: Living nodes, the last changed last: when anything of it changed, and when more than what is free did.
        self._changed: OrderedDict[NodeId, tuple[int, int]] = OrderedDict()
        self._gone: deque[tuple[int, NodeId | GroupId]] = deque()
        self._gone_kept = gone_kept
        #: Nobody who stands before this can be told what is gone.
        self._oldest = 0

    def __len__(self) -> int:
        return len(self._changed)

    def changed(self, node_id: NodeId, *, facts: bool) -> None:
        """A living node is not what it was."""
        self.version += 1
        _, before = self._changed.pop(node_id, (0, self.version))
        self._changed[node_id] = self.version, self.version if facts else before
        if facts or before == self.version:
            self.facts_version = self.version

    def left(self, node_id: NodeId) -> None:
        """A node is dead."""
        self._changed.pop(node_id, None)  # one that did not come back after a restart has not been told of here
        self.version += 1
        self.facts_version = self.version
        self._forgotten(node_id)

    def group_gone(self, group_id: GroupId) -> None:
        """A placement group was removed."""
        self.version += 1
        self.facts_version = self.version
        self._forgotten(group_id)

    def _forgotten(self, thing: NodeId | GroupId) -> None:
        self._gone.append((self.version, thing))
        if len(self._gone) > self._gone_kept:
            self._oldest = self._gone.popleft()[0]

    def complete(self) -> None:
        """Everybody who was expected is back, or dead: that is news even if no node has changed."""
        self.version += 1
        self.facts_version = self.version

    def since(self, version: int | None) -> Changes:
        """What whoever stands at `version` has missed; None stands nowhere."""
        if version is None or not self._oldest <= version <= self.version:
            # Somebody may wait there for a group that was removed, or for a node that died, while nobody could say so.
            things = [thing for _, thing in self._gone if thing not in self._changed]
            groups_gone = tuple(GroupId(thing) for thing in things if len(thing) == GROUP_ID_BYTES)
            nodes_gone = tuple(NodeId(thing) for thing in things if len(thing) != GROUP_ID_BYTES)
            return Changes(self.version, True, tuple(self._changed), (), nodes_gone, groups_gone)
        facts: list[NodeId] = []
        free: list[NodeId] = []
        for node_id in reversed(self._changed):
            at, facts_at = self._changed[node_id]
            if at <= version:
                break
            (facts if facts_at > version else free).append(node_id)
        gone: list[NodeId] = []
        groups: list[GroupId] = []
        for at, thing in reversed(self._gone):
            if at <= version:
                break
            if len(thing) == GROUP_ID_BYTES:
                groups.append(GroupId(thing))
            else:
                gone.append(NodeId(thing))
        return Changes(
            self.version, False, tuple(reversed(facts)), tuple(reversed(free)), tuple(reversed(gone)), tuple(groups)
        )
