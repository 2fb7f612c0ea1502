"""Performs a plan: every write, each by itself, so that one that fails keeps no other from being tried."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from itertools import groupby
from typing import Any

from manta_operator.builders.labels import Manifest
from manta_operator.cluster.actions import Apply, Check, Create, Delete, DrainNode, Plan
from manta_operator.cluster.children import belongs
from manta_operator.cluster.gather import READ_S
from manta_operator.cluster.memory import Memory
from manta_operator.cluster.refusals import Refusal, Why, why_of
from manta_operator.cluster.seen import Seen
from manta_operator.control.links import Link
from manta_operator.kinds import CLUSTERS
from manta_operator.kube.bulk import MOST_AT_ONCE, Outcome, slow_start
from manta_operator.kube.errors import ApiError, KubeError, NotLeaderError
from manta_operator.kube.events import Event
from manta_operator.kube.ownership import Taken
from manta_operator.kube.recorder import Recorder
from manta_operator.kube.resources import PODS, Key, Resource, key_of
from manta_operator.kube.transport import Transport
from manta_operator.kube.writer import Writer
from manta_operator.metrics import Metrics

log = logging.getLogger(__name__)


class Application:
    """One plan being performed.

    Args:
        seen: What it was made from.
        memory: Is told what was refused.
        writer: Who writes.
        transport: For reads.
        recorder: Who tells people.
        link: The tie to the cluster's control, if there is one.
        wrote: Is told of each object as it is after a write.
        metrics: Counts what was told and what failed.
        wall: Seconds since 1970.
    """

    def __init__(
        self,
        seen: Seen,
        memory: Memory,
        *,
        writer: Writer,
        transport: Transport,
        recorder: Recorder,
        link: Link | None,
        wrote: Callable[[Resource, Manifest], None],
        metrics: Metrics,
        wall: Callable[[], float],
    ) -> None:
        self._seen, self._memory = seen, memory
        self._writer, self._transport, self._recorder, self._link = writer, transport, recorder, link
        self._wrote, self._metrics, self._wall = wrote, metrics, wall
        #: Whether something was learnt that another plan should know at once.
        self.news = False
        #: What may do if it is done again: the first of it.
        self.temporary: KubeError | None = None
        self._not_leading: NotLeaderError | None = None

    async def perform(self, plan: Plan) -> None:
        """All of it.

        Raises:
            NotLeaderError: This instance does not lead any more; the rest is another's.
        """
        pods = [one for one in plan.creates if one.resource == PODS]
        others = [one for one in plan.creates if one.resource != PODS]
        # Pods want an account and Secrets to be there; whether that went well or not, they are tried.
        await self._all(
            [*(self._create(one) for one in others), *(self._apply(one) for one in plan.applies)]
            + [self._check(one) for one in plan.checks]
        )
        heads = [one for one in pods if one.group == "head"]
        for head in heads:
            await self._all([self._create(head)])
        workers = sorted((one for one in pods if one.group != "head"), key=lambda one: one.group)
        groups = [list(group) for _, group in groupby(workers, key=lambda one: one.group)]
        await self._all([slow_start(group, self._create) for group in groups])
        await self._take_away(plan)
        if plan.status is not None:
            accepted = await self._status(plan.status.status)
            if accepted:
                for event in plan.events:
                    await self._tell(event)
        elif plan.events:
            for event in plan.events:
                await self._tell(event)
        if self._not_leading is not None:
            raise self._not_leading

    # ---- one write of each kind

    async def _create(self, action: Create) -> Outcome:
        async def run() -> None:
            created = await self._writer.create(action.resource, action.manifest)
            self._wrote(action.resource, created.obj)
            if created.taken is Taken.FOREIGN:
                raise _taken(action.resource, created.obj)
            if created.taken is not None and created.taken is not Taken.GOING:
                await self._label(action.resource, action.manifest, created.obj)

        return await self._try(action.resource, action.name, run, group=action.group)

    async def _label(self, resource: Resource, wanted: Manifest, existing: Manifest) -> None:
        """An object of ours that somebody took our labels from is not in the copies: it gets them back."""
        labels = wanted["metadata"].get("labels") or {}
        has = existing["metadata"].get("labels") or {}
        if labels.items() <= has.items():
            return
        metadata = existing["metadata"]
        patch = {"metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": labels}}
        self._wrote(resource, await self._writer.apply(resource, patch, uid=metadata["uid"]))

    async def _apply(self, action: Apply) -> Outcome:
        async def run() -> None:
            uid = action.uid or await self._uid_of(action)
            try:
                applied = await self._writer.apply(action.resource, action.manifest, uid=uid, version=action.version)
            except ApiError as error:
                if not uid or action.version or why_of(error) is not Why.INVALID:
                    raise
                # A stranger's item in a list that contradicts ours, such as another port of the same name.
                _ = await self._writer.overwrite(action.resource, action.manifest, uid=uid)
                applied = await self._writer.apply(action.resource, action.manifest, uid=uid)
            self._wrote(action.resource, applied)

        return await self._try(action.resource, action.name, run)

    async def _uid_of(self, action: Apply) -> str:
        """Whose object has the name already: nothing is applied onto a stranger's."""
        path = action.resource.path_of(key_of(action.manifest))
        try:
            existing = await self._transport.call("GET", path, timeout_s=READ_S)
        except ApiError as error:
            if error.not_found:
                return ""
            raise
        if not belongs(existing, action.manifest):
            raise _taken(action.resource, existing)
        return str(existing["metadata"]["uid"])

    async def _check(self, action: Check) -> Outcome:
        try:
            await self._writer.check(PODS, action.manifest)
        except NotLeaderError as error:
            self._not_leading = error
            return Outcome.STOP
        except KubeError as error:
            why = why_of(error)
            if why is Why.TEMPORARY:
                self.temporary = self.temporary or error
                return Outcome.FAILED
            # A quota that is used up says nothing against the template.
            self._memory.tried(action.revision, "" if why is Why.QUOTA else _words(error))
        else:
            self._memory.tried(action.revision, "")
        self.news = True
        return Outcome.DONE

    async def _delete(self, action: Delete) -> Outcome:
        async def run() -> None:
            key = Key(self._seen.key.namespace, action.name)
            log.info("%s: deletes %s %s: %s", self._seen.key, action.resource.plural, action.name, action.why)
            _ = await self._writer.delete(
                action.resource,
                key,
                uid=action.uid,
                version=action.version,
                grace_s=action.grace_s,
                note=lambda obj: self._wrote(action.resource, obj),
            )

        return await self._try(action.resource, action.name, run, remember=False)

    def _drain(self, action: DrainNode) -> None:
        if self._link is not None:
            self._writer.fence()
            self._link.drain(bytes.fromhex(action.node), grace_s=action.grace_s, reason=action.why)

    async def _status(self, status: dict[str, Any]) -> bool:
        """Returns whether it was accepted."""
        key = self._seen.key
        obj = {"metadata": {"name": key.name, "namespace": key.namespace}, "status": status}
        accepted = False

        async def run() -> None:
            nonlocal accepted
            try:
                said = await self._writer.apply(CLUSTERS, obj, uid=self._seen.uid, subresource="status")
            except ApiError as error:
                if error.not_found or error.conflict:
                    return  # it is gone, or another one by now: whoever comes next is told of that
                raise
            accepted = True
            self._wrote(CLUSTERS, said)

        _ = await self._try(CLUSTERS, key.name, run, remember=False)
        return accepted

    async def _tell(self, event: Event) -> None:
        regarding = {"apiVersion": CLUSTERS.api_version, "kind": CLUSTERS.kind, "metadata": self._seen.raw["metadata"]}
        try:
            await self._recorder.tell(regarding, event)
        except NotLeaderError as error:
            self._not_leading = error

    # ---- taking away

    async def _take_away(self, plan: Plan) -> None:
        live = any(one.live for one in plan.deletes) or any(one.live for one in plan.drains)
        still = not live or await self._still_wanted()
        for drain in plan.drains:
            if still or not drain.live:
                try:
                    self._drain(drain)
                except NotLeaderError as error:
                    self._not_leading = error
        deletes = [one for one in plan.deletes if still or not one.live]
        for at in range(0, len(deletes), MOST_AT_ONCE):
            await self._all([self._delete(one) for one in deletes[at : at + MOST_AT_ONCE]])

    async def _still_wanted(self) -> bool:
        """Whether the spec that the plan was made for is the one that the API server has now."""
        try:
            now = await self._transport.call("GET", CLUSTERS.path_of(self._seen.key), timeout_s=READ_S)
        except ApiError as error:
            if not error.not_found:
                self.temporary = self.temporary or error
            return False
        except KubeError as error:
            self.temporary = self.temporary or error
            return False
        metadata = now["metadata"]
        return bool(metadata["uid"] == self._seen.uid and metadata.get("generation", 0) == self._seen.generation)

    # ---- what goes wrong

    async def _all(self, writes: Iterable[Coroutine[Any, Any, object]]) -> None:
        """Side by side. None of them raises but for a mistake of ours."""
        async with asyncio.TaskGroup() as group:
            for write in writes:
                _ = group.create_task(write)

    async def _try(
        self,
        resource: Resource,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        group: str = "",
        remember: bool = True,
    ) -> Outcome:
        if self._not_leading is not None:
            return Outcome.STOP
        try:
            await run()
        except NotLeaderError as error:
            self._not_leading = error
            return Outcome.STOP
        except KubeError as error:
            return self._went_wrong(error, resource, name, group, remember=remember)
        if remember:
            self._memory.went_well(resource.plural, name)
        return Outcome.DONE

    def _went_wrong(self, error: KubeError, resource: Resource, name: str, group: str, *, remember: bool) -> Outcome:
        why = why_of(error)
        self._metrics.failures.labels(resource.plural, why.value).inc()
        log.warning("%s: %s %s: %s", self._seen.key, resource.plural, name, error)
        if why is Why.TEMPORARY or not remember:
            self.temporary = self.temporary or error
        if remember:
            refusal = Refusal(
                plural=resource.plural,
                name=name,
                why=why,
                message=_words(error),
                at=self._wall(),
                generation=self._seen.generation,
                group=group,
            )
            self.news |= self._memory.refused(refusal) and why is not Why.TEMPORARY
        return Outcome.STOP if why is Why.QUOTA else Outcome.FAILED


def _words(error: KubeError) -> str:
    return (error.message if isinstance(error, ApiError) and error.message else str(error))[:1024]


def _taken(resource: Resource, existing: Manifest) -> ApiError:
    key = key_of(existing)
    words = f"{resource.kind} {key} is there already and is not this cluster's; delete or rename it"
    return ApiError(f"POST {resource.path(key.namespace)}", 409, "AlreadyExists", words)
