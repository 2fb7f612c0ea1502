"""Facts about jobs in control's key-value store: durable when written, each written once."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from manta.jobs.errors import JobUnknownError
from manta.jobs.states import Fact, Facts
from manta.rpc.v1 import control_pb2 as pb

#: No user's namespace begins with this.
NAMESPACE: Final = "@manta/jobs"
_KINDS: Final = ("job", "run", "stop", "end", "placed")

Ask = Callable[[str, Any], Awaitable[Any]]


class Records:
    """Reads and writes them.

    Args:
        ask: Calls a method of control by its name.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def write(self, kind: str, job_id: str, fact: Fact) -> bool:
        """Write a fact unless one is there; whether this one is it. Durable on return."""
        request = pb.KvPutRequest(
            request_id=os.urandom(16), namespace=NAMESPACE, key=_key(kind, job_id), value=json.dumps(fact).encode()
        )
        answer: pb.KvPutResponse = await self._ask("KvPut", request)
        return answer.added

    async def read(self, job_id: str) -> Facts:
        """Everything about a job.

        Raises:
            JobUnknownError: There is nothing.
        """
        job, run, stop, end, placed = await asyncio.gather(*(self._one(kind, job_id) for kind in _KINDS))
        if job is None:
            raise JobUnknownError(job_id)
        return Facts(job, run, stop, end, placed)

    async def memory(self) -> str:
        """The name of control's memory: another one where everything was forgotten and somebody began anew."""
        key = _key("memory", "name")
        request = pb.KvPutRequest(
            request_id=os.urandom(16), namespace=NAMESPACE, key=key, value=json.dumps(os.urandom(8).hex()).encode()
        )
        await self._ask("KvPut", request)  # the first who says one names it
        answer = await self._ask("KvGet", pb.KvGetRequest(namespace=NAMESPACE, key=key))
        return str(json.loads(answer.value)) if answer.found else ""

    async def is_over(self, job_id: str) -> bool:
        """Whether its end is written, or nothing is any more."""
        return await self._one("end", job_id) is not None or await self._one("job", job_id) is None

    async def _one(self, kind: str, job_id: str) -> Fact | None:
        answer = await self._ask("KvGet", pb.KvGetRequest(namespace=NAMESPACE, key=_key(kind, job_id)))
        return json.loads(answer.value) if answer.found else None

    async def all(self) -> list[Facts]:
        """Everything about all jobs, the newest first."""
        facts: dict[str, dict[str, Fact]] = {}
        after, more = b"", True
        while more:
            answer = await self._ask("KvScan", pb.KvScanRequest(namespace=NAMESPACE, after=after))
            for pair in answer.pairs:
                kind, _, job_id = pair.key.decode().partition("/")
                facts.setdefault(job_id, {})[kind] = json.loads(pair.value)
                after = pair.key
            more = answer.more
        # What has no "job" was deleted meanwhile.
        found = [Facts(**{kind: one.get(kind) for kind in _KINDS}) for one in facts.values() if "job" in one]  # type: ignore[arg-type]
        return sorted(found, key=lambda one: -one.job.get("submitted_unix_ms", 0))

    async def delete(self, job_id: str) -> None:
        """Forget a job. The fact that it was submitted goes last: until then it can be deleted again."""
        for kind in reversed(_KINDS):
            request = pb.KvDelRequest(request_id=os.urandom(16), namespace=NAMESPACE, key=_key(kind, job_id))
            await self._ask("KvDel", request)


def _key(kind: str, job_id: str) -> bytes:
    return f"{kind}/{job_id}".encode()
