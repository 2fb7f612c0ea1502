"""The stream of submitted jobs' states: `GET /api/job-events`, a line of JSON for each change.

    {"type": "begin", "session": NAME}             who answers
    {"type": "job", "job": {...}}                  a job as it is: `states.event` says which fields
    {"type": "gone", "submission_id": ID}          it was forgotten
    {"type": "whole", "memory": NAME}              once: what was not told by now does not exist in the head's memory of that name
    {"type": "alive"}                              nothing has happened; the connection lives

First every job that is known, then each change for as long as the connection lives, which may be days. `?prefix=` leaves out
jobs whose id begins otherwise. Whoever is cut off comes again and is told everything once more: a job that has ended is known
for as long as `states.outdated` says, an hour at least.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from manta.jobs import states
from manta.jobs.feed import Feed, Follower

#: How often something is said when nothing happens. Who hears nothing for three of these may take the connection for dead.
ALIVE_S: Final = 5.0
#: How long a reader may take for one write: there are few places, and who reads no more would keep one for ever.
READ_S: Final = 30.0
#: Of jobs in one write.
_AT_ONCE: Final = 64


class JobEvents:
    """The handler.

    Args:
        feed: What is known of jobs.
        session: Name of the cluster's session.
        stopping: Set when this server ends.
    """

    def __init__(self, feed: Feed, session: str, stopping: asyncio.Event) -> None:
        self._feed, self._session, self._stopping = feed, session, stopping

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Tell until the client leaves or the server ends."""
        with self._feed.follow(request.query.get("prefix", "")) as follower:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            stop = asyncio.create_task(self._wake_at_the_end(follower), name="end of a stream of jobs")
            try:
                with suppress(ConnectionError):  # the client has left
                    await _write(response, [{"type": "begin", "session": self._session}])
                    await self._tell(request, response, follower)
            except TimeoutError:
                # It takes nothing any more. The rest of this answer would wait for it too; it may come again.
                if request.transport is not None:
                    request.transport.abort()
            finally:
                stop.cancel()
        return response

    async def _tell(self, request: web.Request, response: web.StreamResponse, follower: Follower) -> None:
        said_whole = False
        # aiohttp does not end a handler whose client has left.
        while request.transport is not None and not self._stopping.is_set():
            whole, changed = self._feed.whole, follower.take()
            for begin in range(0, len(changed), _AT_ONCE):
                await _write(response, [self._line(job_id) for job_id in changed[begin : begin + _AT_ONCE]])
            if whole and not said_whole:
                said_whole = True
                await _write(response, [{"type": "whole", "memory": self._feed.memory}])
            elif not changed:
                await _write(response, [{"type": "alive"}])
            await follower.wait(ALIVE_S)

    def _line(self, job_id: str) -> dict[str, Any]:
        facts = self._feed.get(job_id)
        if facts is None:
            return {"type": "gone", "submission_id": job_id}
        return {"type": "job", "job": states.event(facts)}

    async def _wake_at_the_end(self, follower: Follower) -> None:
        await self._stopping.wait()
        follower.wake()


async def _write(response: web.StreamResponse, lines: list[dict[str, Any]]) -> None:
    async with asyncio.timeout(READ_S):
        await response.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
