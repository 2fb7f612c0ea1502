"""Leases on other nodes: where the own raylet has sent a demand, how many workers were asked for there, what came of it.

The process is a client of that raylet that only leases, on a connection of its own. What is asked for there and what the own
raylet is told of it always go together: `LeaseDemand.away` here is the sum of `LeaseDemand.wanted` there. A raylet that is gone,
or refuses, leaves its part to the own one, which thinks again.

Runs under the process's lock, like everything of leases.
"""

from __future__ import annotations

import logging
import sys

from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import PROTOCOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.direct import DirectSession
    from manta.client.lease import Lease
    from manta.client.leasing import Leasing
    from manta.client.links import Link
    from manta.client.templates import SchedulingKey
    from manta.rpc.v1 import common_pb2 as common

log = logging.getLogger(__name__)


class FarTokens:
    """The owner's side of a semaphore that the worker's raylet keeps.

    The worker puts a token per task that reaches it. Taking back is a question to the raylet; here can be taken only what was
    never begun, once the worker is dead and the raylet has said how many were.
    """

    __slots__ = ("left", "pushed", "taken")

    def __init__(self) -> None:
        #: Tasks pushed, and taken back.
        self.pushed = self.taken = 0
        #: Tasks that were never begun.
        self.left = 0

    def put(self, count: int) -> None:
        """The worker does that, when they reach it."""
        self.pushed += count

    def ended(self, started: int) -> None:
        """The worker is dead, and so many were begun."""
        self.left = max(0, self.pushed - self.taken - started)

    def take(self, most: int) -> int:
        """Take what was left."""
        taken = min(most, self.left)
        self.left -= taken
        return taken

    def close(self) -> None:
        """There is nothing to close."""


class FarDemand:
    """What one scheduling key has asked other nodes for."""

    __slots__ = ("asked", "dirty", "patience", "seen")

    def __init__(self) -> None:
        #: Workers asked for, by the link to the node's raylet; and how long the demand may wait there, milliseconds.
        self.asked: dict[Link, int] = {}
        self.patience: dict[Link, int] = {}
        #: Number of the last spill that `asked` takes account of.
        self.seen = 0
        #: The own raylet has not been told of it as it stands.
        self.dirty = False

    @property
    def away(self) -> int:
        """Workers asked for elsewhere."""
        return sum(self.asked.values())


class FarLeases:
    """The demands of this process on other nodes."""

    def __init__(self, session: DirectSession, leasing: Leasing) -> None:
        self._session = session
        self._leasing = leasing
        self._keys = session.templates.keys
        #: Links to raylets of other nodes, by node.
        self._raylets: dict[bytes, Link] = {}

    def raylet(self, link: Link) -> bool:
        """Whether that link leads to the raylet of another node."""
        return link in self._raylets.values()

    # -- the own raylet sends elsewhere

    def spilled(self, frame: pb.LeaseSpill) -> None:
        """The own raylet points at another node."""
        key = self._keys[frame.key]
        far = key.far
        if far is None:
            far = key.far = FarDemand()
        far.seen = frame.number
        far.dirty = True
        if key.pending:
            link = self._link(frame.raylet)
            if link is not None:
                far.asked[link] = far.asked.get(link, 0) + min(frame.count, len(key.pending))
                far.patience[link] = frame.patience_ms
                self._ask(key, link)
        self._leasing.demand(key)

    def _ask(self, key: SchedulingKey, link: Link) -> None:
        far = key.far
        assert far is not None
        message = pb.LeaseDemand()
        message.CopyFrom(key.message)
        message.ClearField("strategy")
        message.ClearField("prefer")
        message.wanted = far.asked.get(link, 0)
        message.backlog = len(key.pending)
        message.spilled = True
        message.away = message.spill_seen = 0
        message.patience_ms = far.patience.get(link, 0)
        self._session.send(link, message)

    def lower(self, key: SchedulingKey) -> None:
        """Nothing waits under that key: ask for no more than is held."""
        far = key.far
        assert far is not None
        held = dict.fromkeys(far.asked, 0)
        for lease in key.leases.values():
            if lease.lender in held:
                held[lease.lender] += 1
        for link, count in held.items():
            if count < far.asked[link]:
                self._set(key, link, count)

    def _set(self, key: SchedulingKey, link: Link, count: int) -> None:
        far = key.far
        assert far is not None
        if count > 0:
            far.asked[link] = count
        else:
            del far.asked[link]
        far.dirty = True
        self._ask(key, link)
        if count <= 0:
            far.patience.pop(link, None)

    # -- what becomes of it

    def refused(self, link: Link, frame: pb.LeaseRefused) -> None:
        """That node does not give some of what it was asked for: the own raylet thinks again."""
        key = self._keys[frame.key]
        far = key.far
        asked = 0 if far is None else far.asked.get(link, 0)
        if far is None or not asked:
            return
        if asked > frame.count:
            far.asked[link] = asked - frame.count
        else:
            del far.asked[link]
        far.dirty = True
        self._leasing.demand(key)

    def gave_up(self, link: Link, key: SchedulingKey) -> None:
        """That node has given the demand up."""
        far = key.far
        if far is not None and far.asked.pop(link, 0):
            far.dirty = True

    def give_back(self, lease: Lease, *, kill: bool) -> None:
        """A lease goes back to the raylet of its node, and is not to be replaced."""
        link, key = lease.lender, lease.key
        far = key.far
        if far is not None and far.asked.get(link):
            self._set(key, link, far.asked[link] - 1)
        self._session.send(link, pb.LeaseReturned(lease_id=lease.lease_id, kill=kill, retire=lease.retiring))

    def lost(self, link: Link) -> None:
        """The connection to a node's raylet ended; so did every lease that came over it."""
        for node_id, other in list(self._raylets.items()):
            if other is link:
                del self._raylets[node_id]
        leasing = self._leasing
        for key in self._keys:
            far = key.far
            if far is not None and far.asked.pop(link, 0):
                far.patience.pop(link, None)
                far.dirty = True
        lost = [lease for lease in leasing.leases.values() if lease.lender is link]
        for lease in lost:
            # None of them is pushed to any more when the first one's tasks look for a worker.
            leasing.broken(lease)
        for lease in lost:
            if lease.lease_id in leasing.leases:
                leasing.worker_died(
                    pb.WorkerDied(
                        lease_id=lease.lease_id,
                        worker_id=lease.worker_id,
                        cause=self._session.lost_nodes.cause(link.node_id),
                        status=-9,
                        node_died=True,
                    )
                )
        for key in self._keys:
            if key.far is not None and key.far.dirty:
                leasing.demand(key)

    def refused_us(self, link: Link, frame: pb.Refused) -> None:
        """A raylet does not take us as a client."""
        log.warning("the raylet at %s does not lend its workers: %s", link.endpoint, frame.error.message)
        self._session.links.close(link)

    # -- taking back

    def ask_tokens(self, lease: Lease, count: int) -> None:
        """Take tokens back from a worker there; `tokens_taken` hears how many."""
        lease.taking_back += 1
        self._session.send(lease.lender, pb.TakeTokens(lease_id=lease.lease_id, count=count))

    # -- connections

    def _link(self, raylet: common.Address) -> Link | None:
        """The link to a node's raylet, dialled when there is none; None when it is gone."""
        link = self._raylets.get(raylet.node_id)
        if link is None:
            link = self._dial(raylet)
            if link is not None:
                self._raylets[raylet.node_id] = link
        return link

    def _dial(self, raylet: common.Address) -> Link | None:
        session = self._session
        welcome = session.welcome
        hello = pb.Hello(
            protocol=PROTOCOL,
            role=pb.ROLE_LEASER,
            worker_id=session.worker_id,
            endpoint=session.links.endpoint,
            pid=session.pid,
            job_id=welcome.job_id,
            job_config=welcome.job_config,
            namespace=welcome.namespace,
            node_id=welcome.node_id,
            door=welcome.door,
            python=f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}",
        )
        if welcome.HasField("driver"):
            hello.driver.CopyFrom(welcome.driver)
        return session.links.dial(raylet, hello=hello)

    def statistics(self) -> dict[str, Any]:
        """Sizes, for status and leak checks."""
        return {
            "raylets": len(self._raylets),
            "away": sum(key.far.away for key in self._keys if key.far is not None),
        }
