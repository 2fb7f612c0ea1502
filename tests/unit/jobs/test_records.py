"""Facts about jobs in control's key-value store, through control's own handlers."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from manta.control.services import kv
from manta.jobs.records import Records
from tests.unit.control.handlers import Control


@pytest.mark.parametrize("scan_bytes", [8 << 20, 100])
def test_all_jobs_are_read_at_once_or_in_a_few_pages(monkeypatch, scan_bytes):
    """Not by four questions each."""
    monkeypatch.setattr(kv, "SCAN_BYTES", scan_bytes)

    async def main():
        control, asked = Control(), Counter()

        async def ask(method, request):
            asked[method] += 1
            return await control.call(method, request.SerializeToString())

        records = Records(ask)
        for at in range(20):
            await records.write("job", f"j{at}", {"submission_id": f"j{at}", "submitted_unix_ms": at})
            await records.write("run", f"j{at}", {"group": at})
        await records.write("stop", "j3", {"unix_ms": 1})
        await records.write("end", "j3", {"status": "STOPPED"})
        await records.write("run", "deleted-meanwhile", {"group": 1})
        asked.clear()
        found = await records.all()
        assert [one.job["submission_id"] for one in found] == [f"j{at}" for at in reversed(range(20))]
        assert [one.status for one in found].count("RUNNING") == 19
        assert found[16].end == {"status": "STOPPED"}
        assert set(asked) == {"KvScan"}
        assert asked["KvScan"] == 1 or scan_bytes == 100
        for facts in found:
            assert facts == await records.read(facts.job["submission_id"])

    asyncio.run(main())
