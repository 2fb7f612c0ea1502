"""One tie to the control of each cluster: its nodes as they are now, and drains that were asked for.

Each is kept by a task of its own. Whoever decides reads what the tie knows and never waits for a cluster.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress

from manta.aio.backoff import Backoff
from manta.aio.supervisor import Supervisor
from manta.core.errors import MantaError
from manta_operator.control.access import Access
from manta_operator.control.client import ControlClient, connect
from manta_operator.control.nodes import Draining, Node, NodeState

log = logging.getLogger(__name__)

#: Between attempts to reach one control.
BACKOFF = Backoff(first_s=0.1, factor=2.0, cap_s=10.0, jitter=0.3)
#: Control will not drain a node: it is the head's, or nobody else would take its work.
_REFUSED = "DRAIN_REFUSED"
#: Nodes that are remembered for one cluster; control itself forgets the dead.
MOST_NODES = 20_000


class Link:
    """The tie to one cluster.

    Args:
        access: How it is reached.
        changed: Called when what it knows has changed.
    """

    def __init__(self, access: Access, changed: Callable[[], None]) -> None:
        self.access = access
        self._changed = changed
        #: By node id; None before control has told, and while it cannot be reached.
        self._nodes: dict[bytes, Node] | None = None
        self._client: ControlClient | None = None
        #: Why a drain was refused, by node id.
        self.refused: dict[bytes, str] = {}
        self._drains: dict[bytes, asyncio.Task[None]] = {}
        self.last_error = ""

    @property
    def nodes(self) -> tuple[Node, ...] | None:
        """What control says; None while it cannot be reached."""
        return None if self._nodes is None else tuple(self._nodes.values())

    async def run(self) -> None:
        """Stay tied until cancelled."""
        failures = 0
        try:
            while True:
                try:
                    async with connect(self.access) as client:
                        self._client = client
                        async for news in client.watch_nodes():
                            failures = 0
                            self._learn(news)
                    self.last_error = "control ended the stream of nodes"
                except MantaError as error:
                    self.last_error = str(error)
                finally:
                    self._lost()
                await asyncio.sleep(BACKOFF.delay_s(failures, random.random()))  # noqa: S311 - no secret
                failures += 1
        finally:
            for task in list(self._drains.values()):
                task.cancel()
            await asyncio.gather(*self._drains.values(), return_exceptions=True)

    def drain(self, node_id: bytes, *, grace_s: float, reason: str) -> None:
        """Ask control, once at a time, to take a node out of service; what comes of it is in `nodes` and `refused`."""
        client = self._client
        node = (self._nodes or {}).get(node_id)
        if client is None or node is None or node_id in self._drains:
            return
        if node.draining is not Draining.NO or node.state is NodeState.DEAD:
            return
        task = asyncio.get_running_loop().create_task(
            self._drain(client, node_id, grace_s, reason), name=f"drain {node_id.hex()[:12]}"
        )
        self._drains[node_id] = task

    async def idle(self) -> dict[bytes, bool]:
        """Which nodes have nothing to do; empty if control does not say soon."""
        client = self._client
        if client is None:
            return {}
        try:
            return await client.idle()
        except MantaError as error:
            log.warning("which nodes are idle is not known: %s", error)
            return {}

    async def _drain(self, client: ControlClient, node_id: bytes, grace_s: float, reason: str) -> None:
        try:
            _ = await client.drain(node_id, grace_s=grace_s, reason=reason)
            self.refused.pop(node_id, None)
        except MantaError as error:
            log.warning("a drain was not begun: %s", error)
            # Only control's own no is a refusal, and said to people; one that did not answer is asked again.
            if error.code == _REFUSED:
                self.refused[node_id] = str(error)[:512]
        finally:
            self._drains.pop(node_id, None)
        # Whoever asked looks again: at the refusal, or in a moment at what the stream says.
        self._changed()

    def _learn(self, news: Iterable[Node] | Node) -> None:
        before = self._nodes
        if isinstance(news, Node):
            after = {**(before or {}), news.node_id: news}
        else:
            after = {node.node_id: node for node in news}
        if len(after) > MOST_NODES:
            after = {node_id: node for node_id, node in after.items() if node.state is not NodeState.DEAD}
        self._nodes = after
        for node_id in self.refused.keys() - after.keys():
            del self.refused[node_id]
        if after != before:
            self._changed()

    def _lost(self) -> None:
        self._client = None
        if self._nodes is not None:
            self._nodes = None
            self._changed()


class Links:
    """The ties to all clusters.

    Args:
        tasks: Parent of their tasks.
        wake: Called with a cluster's key when what its control says has changed.
    """

    def __init__(self, tasks: Supervisor, wake: Callable[[Hashable], None]) -> None:
        self._tasks, self._wake = tasks, wake
        self._links: dict[Hashable, tuple[Link, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._links)

    def tie(self, key: Hashable, access: Access | None) -> Link | None:
        """The tie to a cluster, made if need be, anew if it is to be reached in another way; None if it cannot be reached.

        Args:
            key: The cluster's.
            access: How it is reached now; None for not at all.
        """
        found = self._links.get(key)
        if found is not None and found[0].access == access:
            return found[0]
        self.drop(key)
        if access is None:
            return None
        link = Link(access, lambda: self._wake(key))
        self._links[key] = (link, self._tasks.start(link.run(), name=f"control of {key}"))
        return link

    def get(self, key: Hashable) -> Link | None:
        """The tie to a cluster, if there is one."""
        found = self._links.get(key)
        return None if found is None else found[0]

    def drop(self, key: Hashable) -> None:
        """The cluster is no more, or not reached any more."""
        found = self._links.pop(key, None)
        if found is not None:
            found[1].cancel()

    async def close(self) -> None:
        """End all of them."""
        tasks = [task for _, task in self._links.values()]
        self._links.clear()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
