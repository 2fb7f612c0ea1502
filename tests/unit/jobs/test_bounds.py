"""What jobs and uploads may take together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from manta.core.errors import OverloadedError
from manta.jobs import packages
from manta.jobs.manager import MOST_RUNNING, Manager
from manta.jobs.records import Records


async def unasked(method: str, request: Any) -> Any:
    raise AssertionError(f"control is not asked {method}")


def test_one_job_too_many_is_refused_before_anything_is_written(tmp_path: Path):
    host: Any = None
    tasks: Any = None
    manager = Manager(Records(unasked), host, tmp_path, tmp_path, tasks)
    manager._watched = {f"job-{number}" for number in range(MOST_RUNNING)}

    with pytest.raises(OverloadedError, match=f"{MOST_RUNNING} jobs are under way"):
        asyncio.run(manager.submit({"entrypoint": "true"}))


def test_uploads_are_counted_together_with_those_on_their_way(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"x" * 1000)
    (tmp_path / ".half").write_bytes(b"x" * 24)

    assert packages.size_of(tmp_path) == 1024
