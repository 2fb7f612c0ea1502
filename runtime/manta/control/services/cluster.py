"""Tells the nodes' lines of each other: at a bounded rate, each piece of news encoded once however many lines there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from manta.control import convert
from manta.control.cluster import Changes
from manta.control.model import NodeId
from manta.control.runner import Runner
from manta.rpc.v1 import common_pb2
from manta.rpc.v1 import control_pb2 as pb

#: Between two pieces of news on one line, milliseconds: at least, per node of the cluster, and at most.
LEAST_PERIOD_MS = 100
PERIOD_PER_NODE_MS = 1
MOST_PERIOD_MS = 1000


def period_ms(nodes: int) -> int:
    """How often nodes report and are told; 0 when there is nobody to tell."""
    return 0 if nodes < 2 else max(LEAST_PERIOD_MS, min(MOST_PERIOD_MS, nodes * PERIOD_PER_NODE_MS))


class Told:
    """How far one line has been told."""

    __slots__ = ("due", "version", "wake")

    def __init__(self, wake: Callable[[], None], version: int | None) -> None:
        self.wake = wake
        self.version = version
        #: It may be told now.
        self.due = True


class ClusterTeller:
    """All lines' pictures of the cluster.

    Args:
        runner: Whose state it tells.
        loop: Where time passes.
    """

    def __init__(self, runner: Runner, loop: asyncio.AbstractEventLoop) -> None:
        self._state = runner.state
        self._loop = loop
        #: In the order in which they came: who is told first is no chance.
        self._lines: dict[Told, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._soon = False
        self._facts_version = 0
        #: What was last encoded: from which version to which, and the bytes.
        self._last: tuple[int | None, int, bytes] = (None, -1, b"")
        runner.on_cluster = self.changed

    def join(self, position: pb.ClusterPosition | None, wake: Callable[[], None]) -> Told:
        """A line is there; what it has missed is news."""
        version = position.version if position is not None and position.epoch == self._state.epoch else None
        told = Told(wake, version)
        self._lines[told] = None
        if self.unread(told):
            wake()
        return told

    def leave(self, told: Told) -> None:
        """The line is gone."""
        self._lines.pop(told, None)

    def changed(self) -> None:
        """Something is news; soon all lines are woken, and at once if it is about who is there."""
        if not self._lines or self._state.nodes.recovering:
            return
        cluster = self._state.nodes.cluster
        if cluster.facts_version != self._facts_version:
            self._facts_version = cluster.facts_version
            if not self._soon:
                self._soon = True
                self._loop.call_later(0.0, self._wake)
        elif self._timer is None and not self._soon:
            self._timer = self._loop.call_later(period_ms(len(cluster)) / 1000, self._wake)

    def _wake(self) -> None:
        self._timer, self._soon = None, False
        for told in self._lines:
            told.due = True
            if self.unread(told):
                told.wake()

    def unread(self, told: Told) -> bool:
        """Whether there is something to tell now. After a restart nothing is told until who was there is back, or dead."""
        return told.due and told.version != self._state.nodes.cluster.version and not self._state.nodes.recovering

    def take(self, told: Told) -> bytes:
        """What comes next, encoded; it was decided, and before it is on disk nobody may see it."""
        if not self.unread(told):
            return b""
        told.due = False
        self._facts_version = self._state.nodes.cluster.facts_version
        version = self._state.nodes.cluster.version
        if self._last[:2] != (told.version, version):
            news = self._news(self._state.nodes.cluster.since(told.version))
            self._last = told.version, version, news.SerializeToString()
        told.version = version
        return self._last[2]

    def _news(self, changes: Changes) -> pb.ClusterNews:
        rows = self._state.nodes.rows
        news = pb.ClusterNews(
            position=pb.ClusterPosition(epoch=self._state.epoch, version=changes.version),
            anew=changes.anew,
            gone=changes.gone,
            gone_reasons=[rows[node_id].death_reason if node_id in rows else "" for node_id in changes.gone],
            gone_groups=changes.groups,
        )
        for node_id in changes.facts:
            self._node(news, node_id, facts=True)
        for node_id in changes.free:
            self._node(news, node_id, facts=False)
        return news

    def _node(self, news: pb.ClusterNews, node_id: NodeId, *, facts: bool) -> None:
        nodes = self._state.nodes
        said = news.nodes.add(node_id=node_id, available=convert.to_amounts(nodes.available(node_id)))
        if facts:
            row = nodes.rows[node_id]
            said.facts.CopyFrom(
                pb.ClusterNodeFacts(
                    raylet=common_pb2.Address(node_id=node_id, endpoint=row.channel_endpoint, door=row.door),
                    total=convert.to_amounts(row.total),
                    labels=row.labels,
                    draining=row.drain is not None,
                )
            )
