"""Whatever network and API server do during a job's life, it is submitted once, and its end is told."""

from __future__ import annotations

import asyncio

import pytest

from manta_operator.kinds import JOBS
from tests.kube.harness.proxy import Cut, CutWatch, Events, Fault, Hold, LoseAnswer, Refuse, lists, watches
from tests.kube.reconciling.jobs import Jobs, job, with_head
from tests.kube.reconciling.runs import behind, rests, started, until
from tests.kube.reconciling.test_bad_days import Dropped, changes, twice


def job_watches(request):
    """Watches of MantaJobs."""
    return request.watches and request.path.endswith(f"/{JOBS.plural}")


def of_jobs(request):
    """Writes of MantaJobs: status, finalizer, end."""
    return changes(request) and f"/{JOBS.plural}/" in request.path


def each(match, *acts):
    """What happens to the requests that match, one after the other."""
    return [Fault(match, act) for act in acts]


CONFLICT = Refuse(409, "Conflict", "the object has been modified")
BUSY, ILL = Refuse(429, "TooManyRequests", retry_after_s=1), Refuse(500, "InternalError")
DAYS = {
    "watches are cut": lambda: [Fault(watches, CutWatch(after=1), times=8)],
    "events are lost": lambda: [Fault(watches, Events(Dropped()), times=12)],
    "events come late, and twice": lambda: [Fault(watches, Events(twice, delay_s=0.2), times=None)],
    "each write is refused once": lambda: each(of_jobs, CONFLICT, BUSY, ILL, CONFLICT, ILL),
    "each write is made and its answer lost": lambda: [Fault(of_jobs, LoseAnswer(), times=4)],
    "writes are cut, and one hangs": lambda: each(of_jobs, Cut(), Hold(asyncio.Event()), Cut()),
    "versions are gone, and lists refused": lambda: [
        Fault(job_watches, Refuse(410, "Expired"), times=3),
        Fault(lists, Refuse(503), times=6),
    ],
}


@pytest.mark.timeout(400)
def test_a_bad_day_submits_a_job_once_and_tells_its_end(kube, kubelet, identity, place, tmp_path):
    """One that ends well and is deleted when its time is over, and one that fails and stays; then nobody writes."""

    async def body():
        async with with_head(kube, identity, place, tmp_path) as (operator, _, dashboard):
            operator.kill()
            jobs, uids = Jobs(place), {}
            for number, (day, make) in enumerate(DAYS.items()):
                faults = make()
                async with behind(kube, identity, tmp_path, *faults) as proxy:
                    with started(proxy, tmp_path, place, lease=f"day-{number}", lease_s=6) as process:
                        good, bad = f"good-{number}", f"bad-{number}"
                        uids[good] = jobs.apply(good, job(ttlSecondsAfterFinished=0))
                        uids[bad] = jobs.apply(bad, job("false"))
                        try:
                            await until(lambda: jobs.get(good) is None, f"{good} is done and gone")  # noqa: B023
                            status = await jobs.ended(bad)
                        except AssertionError as error:
                            raise AssertionError(f"{day}: {error}\n{process.log.read_text()[-4000:]}") from None
                        assert (status["phase"], status["exitCode"], status["attempts"]) == ("Failed", 1, 1), day
                        assert all(fault.met for fault in faults), day
                        if number == len(DAYS) - 1:
                            await rests(proxy)
            assert dashboard.starts == {f"mj-{uid}-1": 1 for uid in uids.values()}

    asyncio.run(body())
