"""A node that is taken out of service: what still holds it, and its leaving once nothing does.

That it takes nothing new is the scheduler's part; that the grace is over is control's, which then gives the node up. Where its
objects go is decided in `objects.giving`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Final

from manta.core.errors import MantaError
from manta.raylet.clients import Clients
from manta.raylet.config import RayletConfig
from manta.raylet.control_client import ControlLink
from manta.raylet.exchange import Exchange
from manta.raylet.memory_kills import memory_kills
from manta.raylet.objects.table import ObjectTable
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.records import WorkerState
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb

log = logging.getLogger(__name__)

#: What holds the node is looked at so often while it is drained, seconds.
LOOK_S: Final = 0.1
#: How long control may take to take a drain in, seconds.
_ASK_S: Final = 5.0
#: Shapes of waiting tasks that are reported.
_SHAPES: Final = 100


def load(scheduler: Scheduler, clients: Clients, objects: ObjectTable, exchange: Exchange) -> cpb.NodeLoad:
    """What work a node has. Costs a look at each worker."""
    found = cpb.NodeLoad(actors=scheduler.actor_leases(), oom_kills=memory_kills())
    for worker in scheduler.workers():
        if worker.state is WorkerState.LEAVING:
            found.owners += 1
        elif worker.state is WorkerState.BUSY:
            lease = scheduler.holder(worker.worker_id)
            found.tasks += lease is None or lease.actor is None
    found.drivers = sum(client.role == pb.ROLE_DRIVER for client in clients)
    found.objects, found.object_bytes = objects.primaries()
    found.stuck_objects, found.stuck_bytes, found.stuck_reason = exchange.moving.giving.stuck()
    for amounts, name, count, infeasible in scheduler.pending()[:_SHAPES]:
        found.pending.add(
            resources=common.Resources(amounts=amounts), name=name[:200], count=count, infeasible=infeasible
        )
    return found


def holds(found: cpb.NodeLoad) -> bool:
    """Whether something would be lost if the node left now."""
    return bool(found.tasks or found.owners or found.actors or found.drivers or found.objects)


class Draining:
    """Watches a node that is drained.

    Args:
        config: This node, and what a signal leaves to what runs there.
        load: What work it has now.
        link: Asks control.
        exchange: Moves its objects, and sends what others still fetch.
        end: Ends the node.
    """

    def __init__(
        self,
        config: RayletConfig,
        *,
        load: Callable[[], cpb.NodeLoad],
        link: ControlLink,
        exchange: Exchange,
        end: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._node_id, self._grace_ms = config.node_id, round(config.drain_grace_s * 1000)
        self._load, self._link, self._exchange, self._end = load, link, exchange, end
        self._timer: asyncio.TimerHandle | None = None
        self._asked = False
        self.begun = False

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def heard(self) -> None:
        """Control has said that the node is drained. Safe to repeat."""
        if not self.begun:
            self.begun = True
            log.info("the node is being drained")
            self._look()

    def _look(self) -> None:
        self._exchange.moving.look()
        if holds(self._load()) or self._exchange.transfers.chains.sends:
            self._timer = self._loop.call_later(LOOK_S, self._look)
        else:
            self._end("it was drained")

    def ask(self, reason: str) -> None:
        """Have control drain this node; the second time, or where that cannot be, it ends at once."""
        if self._asked or not self._link.registered.is_set():
            self._end(reason)
            return
        self._asked = True
        request = cpb.DrainNodeRequest(
            request_id=os.urandom(16), node_id=self._node_id, grace_ms=self._grace_ms, reason=reason, leaving=True
        )

        def done(reply: cpb.LineReply) -> None:
            if reply.HasField("error"):
                log.info("the node is not drained: %s", reply.error.message)
                self._end(reason)

        try:
            self._link.post("DrainNode", request.SerializeToString(), done, timeout_s=_ASK_S)
        except MantaError as failed:
            log.info("the node is not drained: %s", failed)
            self._end(reason)
