"""Performs a plan: the status first, then the actions in their order, each only if all before it went well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from manta_operator.api.job import JobStatus
from manta_operator.api.render import render
from manta_operator.heads.following import Heads
from manta_operator.job.actions import Action, Delete, Hold, Plan, Release, Stop, Submit
from manta_operator.job.seen import FINALIZER
from manta_operator.kinds import JOBS
from manta_operator.kube.errors import ApiError, NotLeaderError
from manta_operator.kube.recorder import Recorder
from manta_operator.kube.resources import Key, key_of
from manta_operator.kube.writer import Writer


class Apply:
    """What a plan for one object does.

    Args:
        raw: The object as it was seen.
        cluster: The cluster that it names.
        writer: Writes to the API server.
        heads: Heads.
        recorder: Events.
        leads: Whether this instance leads; asked before each word to a head, which no version protects.
        wrote: Told of the object as it is after each write.
    """

    def __init__(
        self,
        raw: dict[str, Any],
        cluster: Key,
        writer: Writer,
        heads: Heads,
        recorder: Recorder,
        *,
        leads: Callable[[], bool],
        wrote: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._raw, self._cluster, self._writer, self._heads = raw, cluster, writer, heads
        self._recorder, self._leads, self._note = recorder, leads, wrote
        metadata = raw["metadata"]
        self._key, self._uid = key_of(raw), str(metadata.get("uid", ""))
        #: Of the object, after the last write.
        self.version = str(metadata.get("resourceVersion", ""))

    async def perform(self, plan: Plan) -> None:
        """Do all of it.

        Raises:
            NotLeaderError: Another instance may do it.
            KubeError: A write was refused, or its answer is not known; the rest was not done.
            HeadError: The same about a head.
        """
        if plan.status is not None:
            await self.say(plan.status)
        for event in plan.events:
            regarding = {**self._raw, "apiVersion": JOBS.api_version, "kind": JOBS.kind}
            _ = await self._recorder.tell(regarding, event)
        for action in plan.actions:
            await self._do(action)

    async def say(self, status: JobStatus) -> None:
        """Write the status, if the object is still as it was seen: what follows from an older one may be wrong by now."""
        metadata = {"name": self._key.name, "namespace": self._key.namespace, "resourceVersion": self.version}
        body = {"metadata": metadata, "status": render(status)}
        self._wrote(await self._writer.apply(JOBS, body, uid=self._uid, subresource="status"))

    async def _do(self, action: Action) -> None:
        match action:
            case Hold():
                await self._hold([*self._others(), FINALIZER])
            case Release():
                try:
                    await self._hold(self._others())
                except ApiError as error:
                    if not error.not_found:
                        raise
            case Submit():
                self._ask_leave()
                await self._heads.submit(self._cluster, action.body)
            case Stop():
                self._ask_leave()
                await self._heads.stop(self._cluster, action.submission_id)
            case Delete():
                _ = await self._writer.delete(JOBS, self._key, uid=self._uid, version=self.version)

    def _ask_leave(self) -> None:
        if not self._leads():
            raise NotLeaderError

    def _others(self) -> list[str]:
        return [one for one in self._raw["metadata"].get("finalizers") or [] if one != FINALIZER]

    async def _hold(self, finalizers: list[str]) -> None:
        written = await self._writer.put_finalizers(JOBS, self._key, finalizers, uid=self._uid, version=self.version)
        self._wrote(written)

    def _wrote(self, written: Mapping[str, Any]) -> None:
        self.version = str((written.get("metadata") or {}).get("resourceVersion") or self.version)
        self._note(written)
