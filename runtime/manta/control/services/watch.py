"""The stream of what changes."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from manta.control import convert
from manta.control.model import Actor, ActorId, ActorState, Job, Node
from manta.control.runner import Runner
from manta.control.state import ControlState
from manta.control.watching import News, Ready, Resync, UnknownActor, Watcher
from manta.rpc.v1 import control_pb2 as pb

#: Most that is told between two looks at the store.
AT_ONCE = 256


class Subscription:
    """One caller's interests and what it has not been told yet, as messages.

    Args:
        runner: Whose watchers it joins.
        first: What the caller begins with.
        wake: Called when there is something to tell.
    """

    def __init__(self, runner: Runner, first: pb.WatchRequest, wake: Callable[[], None]) -> None:
        self._state, self._watchers = runner.state, runner.watchers
        self._watcher = Watcher(wake, nodes=first.nodes, jobs=first.jobs, all_actors=first.all_actors)
        after: int | None = None
        lost = ""
        if first.HasField("after"):
            after = first.after.number
            if first.after.epoch != self._state.epoch:
                lost = "control was restarted"
        self._watchers.join(self._watcher, _actor_ids(first.actor_ids), after, lost)

    def change(self, request: pb.WatchRequest) -> None:
        """Other actors are of interest from now on."""
        if request.remove_actor_ids:
            self._watchers.remove(self._watcher, _actor_ids(request.remove_actor_ids))
        self._watchers.add(self._watcher, _actor_ids(request.actor_ids))

    @property
    def unread(self) -> int:
        """How much there is to tell."""
        return len(self._watcher.unread)

    def take(self) -> list[tuple[int, News]]:
        """What comes next; it was decided, and before it is on disk nobody may see it."""
        unread = self._watcher.unread
        taken = unread[:AT_ONCE]
        del unread[:AT_ONCE]
        return taken

    def encode(self, number: int, item: News) -> pb.WatchResponse:
        """One piece of news, the next on its stream."""
        watcher = self._watcher
        response = pb.WatchResponse(
            position=pb.WatchPosition(epoch=self._state.epoch, number=number), previous=watcher.previous
        )
        watcher.previous = number
        match item:
            case Resync(reason):
                response.resync.reason = reason
            case UnknownActor(actor_id):
                response.unknown_actor.actor_id = actor_id
            case Ready():
                response.ready.SetInParent()
            case Node():
                nodes = self._state.nodes
                node = convert.to_node(item, nodes.available(item.node_id), nodes.gauges(item.node_id))
                response.node.CopyFrom(node)
            case Job():
                response.job.CopyFrom(convert.to_job(item))
            case Actor():
                response.actor.CopyFrom(convert.to_actor(item))
        return response

    def close(self) -> None:
        """The caller is gone."""
        self._watchers.leave(self._watcher)


class WatchRpcs:
    """Watch."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def Watch(self, requests: AsyncIterator[pb.WatchRequest], cause: str) -> AsyncIterator[pb.WatchResponse]:
        runner = self._runner
        first = await anext(requests, None)
        if first is None:
            return
        unread = asyncio.Event()
        subscription = Subscription(runner, first, unread.set)
        reader: asyncio.Task[None] | None = None
        try:
            reader = asyncio.ensure_future(_read(requests, subscription))
            reader.add_done_callback(lambda _: unread.set())
            while True:
                while not subscription.unread:
                    if reader.done():
                        # The caller closed its side; what it asked for has been sent.
                        reader.result()
                        return
                    unread.clear()
                    await unread.wait()
                news = subscription.take()
                await runner.settled()
                for number, item in news:
                    yield subscription.encode(number, item)
        finally:
            if reader is not None:
                reader.cancel()
            subscription.close()


async def _read(requests: AsyncIterator[pb.WatchRequest], subscription: Subscription) -> None:
    async for request in requests:
        subscription.change(request)


def present(state: ControlState) -> Callable[[bool, bool, bool, Iterable[ActorId]], list[News]]:
    """How watchers read the present state."""

    def read(nodes: bool, jobs: bool, all_actors: bool, actors: Iterable[ActorId]) -> list[News]:
        news: list[News] = []
        if nodes:
            news += state.nodes.rows.values()
        if jobs:
            news += state.jobs.rows.values()
        if all_actors:
            news += [row for row in state.actors.rows.values() if row.state is not ActorState.DEAD]
        for actor_id in sorted(actors):
            news.append(state.actors.rows.get(actor_id) or UnknownActor(actor_id))
        return news

    return read


def _actor_ids(values: Iterable[bytes]) -> list[ActorId]:
    return [convert.actor_id(value) for value in values]
