"""A log that is followed: until its job is over, or nobody follows it any more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from manta.dashboard import jobs


def test_who_has_left_is_followed_no_longer(tmp_path, monkeypatch):
    """The job goes on: nothing is asked for a client that is gone."""
    monkeypatch.setattr(jobs, "_PAUSE_S", 0.001)
    log = tmp_path / "log"
    log.write_text("a line\n")
    asked = []

    async def is_over(job_id):
        asked.append(job_id)
        return False

    async def main():
        manager: Any = SimpleNamespace(log_of=lambda job_id: log, is_over=is_over)
        routes = jobs.JobRoutes(manager)
        return [text async for text in routes._growing("job", lambda: len(asked) == 5)]

    assert asyncio.run(asyncio.wait_for(main(), 10)) == ["a line\n"]
    assert asked == ["job"] * 5
