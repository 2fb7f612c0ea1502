"""The operator's process: everything is tied together here, and nothing is decided."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import aiohttp

from manta.aio.supervisor import Supervisor
from manta_operator import health
from manta_operator.builders.build import Build
from manta_operator.cluster.plan import plan
from manta_operator.cluster.reconciler import ClusterReconciler
from manta_operator.control.links import Links
from manta_operator.controllers import Controller, Running
from manta_operator.credentials.making import Makers
from manta_operator.heads.client import connections
from manta_operator.heads.following import Heads
from manta_operator.job.reconciler import JobReconciler
from manta_operator.job.submission import PREFIX
from manta_operator.kinds import CLUSTERS, cached
from manta_operator.kube.caches import Caches
from manta_operator.kube.errors import NotLeaderError
from manta_operator.kube.lease import Leadership
from manta_operator.kube.recorder import Recorder
from manta_operator.kube.reflector import Limits, Reflector
from manta_operator.kube.resources import PODS, Key, Resource
from manta_operator.kube.tenure import Terms
from manta_operator.kube.transport import Transport, connect
from manta_operator.kube.writer import Writer
from manta_operator.metrics import CONTENT_TYPE, Metrics
from manta_operator.pod_times import PodTimes
from manta_operator.settings import Settings

log = logging.getLogger(__name__)

#: Requests at a time, beside the watches, which hold a connection each for as long as they live.
CONNECTIONS = 64
#: How long what is needed may not be readable before this instance says that it is not ready: no watch lives for ever.
UNREAD_S = 5.0
#: At the end: how long writes under way are waited for before the Lease is given back.
LAST_WRITES_S = 1.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What controllers are made from.

    Attributes:
        caches: The copies.
        transport: For reads.
        writer: For writes.
        recorder: For events.
        links: Ties to controls.
        metrics: Numbers.
        tasks: Parent of whatever runs as long as the operator does.
        settings: What the operator was told.
        wake: Has a controller, by its name, look after an object soon.
        leads: Whether this instance leads now; whoever does something that is no write through `writer` asks first.
        heads: Connections to heads.
    """

    caches: Caches
    transport: Transport
    writer: Writer
    recorder: Recorder
    links: Links
    metrics: Metrics
    tasks: Supervisor
    settings: Settings
    wake: Callable[[str, Key], None]
    leads: Callable[[], bool]
    heads: aiohttp.ClientSession


def controllers(parts: Parts) -> list[Controller]:
    """Everything that the operator looks after. A new kind is a line here."""
    settings, makes = parts.settings, Makers()
    build = Build(
        operator_namespace=settings.namespace,
        metrics_namespaces=settings.metrics_namespaces,
        cluster_domain=settings.cluster_domain,
    )
    clusters = ClusterReconciler(
        parts.caches,
        parts.transport,
        parts.writer,
        parts.recorder,
        parts.links,
        parts.metrics,
        lambda seen, now: plan(seen, now, build, makes),
    )
    jobs = JobReconciler(
        parts.caches,
        parts.writer,
        parts.recorder,
        partial(Heads, parts.heads, parts.tasks, PREFIX),
        lambda key: parts.wake("job", key),
        leads=parts.leads,
    )
    return [clusters.controller(), jobs.controller()]


class Operator:
    """One instance. Made by `serve`.

    Attributes:
        caches: The copies.
        leadership: Whether it leads.
        metrics: Its numbers.
        port: Of probes and metrics; -1 for none.
    """

    def __init__(
        self, settings: Settings, transport: Transport, lease: Transport, metrics: Metrics, terms: Terms, limits: Limits
    ) -> None:
        self.settings, self.port = settings, -1
        self.leadership = Leadership(
            lease, Key(settings.lease_namespace, settings.lease_name), settings.identity, terms=terms
        )
        self.caches = Caches(transport, cached(nodes=not settings.namespaces), settings.namespaces, limits=limits)
        self.metrics = metrics
        # By the loop's clock, but asked from another thread, where there is no loop.
        metrics.show(self.caches[CLUSTERS].all, lambda: self.leadership.tenure.sure(time.monotonic()))
        self.writer = Writer(transport, self._fence, timeout_s=terms.write_s)
        self._transport = transport
        self._running: dict[str, Running] = {}
        self._ending = False
        self._leading: asyncio.Task[None] | None = None

    def observe(self, tasks: Supervisor, heads: aiohttp.ClientSession) -> None:
        """Begin to read, to lead and to work."""
        links = Links(tasks, lambda key: self._wake("cluster", key))
        self.metrics.links.set_function(lambda: len(links))
        recorder = Recorder(self.writer, self.settings.identity, time.monotonic, self.metrics.told)
        parts = Parts(
            self.caches,
            self._transport,
            self.writer,
            recorder,
            links,
            self.metrics,
            tasks,
            self.settings,
            self._wake,
            self._leads,
            heads,
        )
        self._count()
        for controller in controllers(parts):
            self._running[controller.name] = Running(controller, self.caches, self._leads, self.metrics)
        self.caches.start(tasks)
        self._leading = tasks.start(self.leadership.run(), name="lease")
        _ = tasks.start(self._lead(tasks), name="leading")

    @property
    def unready(self) -> str:
        """Why this instance is not ready; empty if it is. One that follows is ready to lead."""
        if missing := self.caches.unsynced:
            return f"not read yet: {', '.join(missing)}"
        found = {kind: one for kind, one in self.caches.unread(time.monotonic()).items() if one[0] >= UNREAD_S}
        if not found:
            return ""
        seconds, why = max(found.values())
        names = ", ".join(sorted(kind.plural for kind in found))
        return f"cannot read {names} for {seconds:.0f} s: {why}"

    async def end(self) -> None:
        """Begin no more writes, let those under way end, and let the next instance lead at once."""
        self._ending = True
        if self._leading is not None:
            # Else it would find the Lease free, and take it.
            self._leading.cancel()
            await asyncio.wait([self._leading])
        loop = asyncio.get_running_loop()
        until = loop.time() + LAST_WRITES_S
        while self.writer.under_way and loop.time() < until:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.005)
        await self.leadership.resign()

    async def _lead(self, tasks: Supervisor) -> None:
        """Work when this instance leads; each time it begins to, look at everything."""
        await self.caches.synced()
        terms = 0
        while True:
            begun = await self.leadership.begun(terms)
            log.info("leads, for the %d. time", begun)
            for running in self._running.values():
                running.wake_all()
                if not terms:
                    running.start(tasks)
            terms = begun

    def _leads(self) -> bool:
        return not self._ending and self.leadership.leads

    def _fence(self, write_s: float) -> None:
        if self._ending:
            raise NotLeaderError
        self.leadership.fence(write_s)

    def _wake(self, controller: str, key: Hashable) -> None:
        assert isinstance(key, Key)
        running = self._running.get(controller)
        if running is not None:
            running.wake(key)

    def _unread(self, resource: Resource) -> float:
        return self.caches.unread(time.monotonic()).get(resource, (0.0, ""))[0]

    def _count(self) -> None:
        for resource in {one.resource for one in self.caches.reflectors}:
            mine = [one for one in self.caches.reflectors if one.resource == resource]
            self.metrics.cached(resource.plural, self.caches[resource].__len__)
            self.metrics.reads(resource.plural, partial(_reads, mine))
            self.metrics.unread(resource.plural, partial(self._unread, resource))
        times = PodTimes()

        def changed(before: dict[str, object] | None, after: dict[str, object] | None) -> None:
            for stage, seconds in times.saw(before, after, time.monotonic()):
                self.metrics.pod_seconds.labels(stage).observe(seconds)

        self.caches[PODS].listen(changed)


def _reads(reflectors: Iterable[Reflector]) -> dict[str, int]:
    """What these have done so far."""
    counts = {"lists": 0, "watches": 0, "failures": 0}
    for one in reflectors:
        counts["lists"] += one.lists
        counts["watches"] += one.watches
        counts["failures"] += one.failures
    return counts


def watches(settings: Settings) -> int:
    """How many there are at most at a time: one for each kind and namespace."""
    return len(cached(nodes=True)) * max(1, len(settings.namespaces))


@asynccontextmanager
async def serve(
    settings: Settings, *, terms: Terms | None = None, limits: Limits | None = None
) -> AsyncIterator[Operator]:
    """Be an operator for a block. At its end the Lease is given back.

    Args:
        settings: What it was told.
        terms: Of leading.
        limits: Of reading.

    Raises:
        KubeError: There is no identity.
        OSError: The port cannot be had.
    """
    terms = terms or Terms.of(settings.lease_s)
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        transport = await stack.enter_async_context(
            connect(
                settings.kubeconfig,
                connections=CONNECTIONS + watches(settings),
                observe=metrics.called,
            )
        )
        # Its own connections: a renewal never waits for a list.
        lease = await stack.enter_async_context(connect(settings.kubeconfig, connections=2))
        operator = Operator(settings, transport, lease, metrics, terms, limits or Limits())
        if settings.port >= 0:
            operator.port = await stack.enter_async_context(
                health.serve(
                    settings.port,
                    unready=lambda: operator.unready,
                    numbers=metrics.text,
                    content_type=CONTENT_TYPE,
                    host=settings.host,
                )
            )
        heads = await stack.enter_async_context(connections())
        tasks = await stack.enter_async_context(Supervisor())
        operator.observe(tasks, heads)
        try:
            yield operator
        finally:
            await operator.end()
