"""Nodes that control has declared dead: what was there is lost, and what still comes from there is refused.

A connection to a node that is paused, or cut off, says nothing for a long time. The raylet tells what control has decided; from
then on no link leads there, none is taken from there, and nothing is dialled again. Whatever waited on one ends: tasks in a
retry or an error, borrowed objects in an error, what was lent in a release. Calls of actors end as control says.
"""

from __future__ import annotations

from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from manta.client.direct import DirectSession
    from manta.client.links import Link

#: Dead nodes remembered; each is an entry of 100 bytes.
REMEMBERED: Final = 4096


class LostNodes:
    """See the module. Runs under the process's lock."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        #: Why each is dead. `Links` looks here before it dials, and at each Hello.
        self.reasons = session.links.dead

    def heard(self, link: Link, frame: pb.NodesDied, raw: bytes) -> None:
        """The raylet passes on what control has decided."""
        links = self._session.links
        for node_id, reason in zip(frame.node_ids, frame.reasons, strict=True):
            if node_id in self.reasons or node_id == links.node_id:
                continue
            self.reasons[node_id] = reason
            if len(self.reasons) > REMEMBERED:
                del self.reasons[next(iter(self.reasons))]
            # The raylet's first: it is the one through which all leases there are lost together.
            there = sorted(links.of_node(node_id), key=lambda link: not self._session.leasing.far.raylet(link))
            for one in there:
                links.close(one)
            self._session.store.copies.node_died(node_id)

    def cause(self, node_id: bytes) -> str:
        """What to say of a worker that was there."""
        reason = self.reasons.get(node_id)
        if reason is None:
            return "the node of its worker is gone, or cannot be reached any more"
        return f"the node of its worker, {node_id.hex()}, is dead: {reason}"
