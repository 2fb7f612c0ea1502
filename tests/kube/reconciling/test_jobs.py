"""MantaJobs with a real API server: on a head that is a stand-in, and on one that is real."""

from __future__ import annotations

import asyncio
import base64

import pytest

from manta.transport.auth import write_private
from manta_operator.job.seen import FINALIZER
from manta_operator.kinds import CLUSTERS, JOBS
from tests.kube.harness.dashboard import PORT, stand_in_dashboard
from tests.kube.reconciling.jobs import Jobs, head_of, job, with_head
from tests.kube.reconciling.runs import behind, rests, running, settled, started, until
from tests.kube.reconciling.states import NAME, cluster
from tests.support import heads
from tests.support.leaks import KINDS, no_leaks

#: More kills than a job's life has writes.
MOST_WRITES = 12


def test_jobs_end_fail_and_are_tried_again(kube, kubelet, identity, place, tmp_path):
    """Each is submitted once per try; at rest, also while one runs, nothing is written."""

    async def body():
        async with with_head(kube, identity, place, tmp_path) as (_, proxy, dashboard):
            jobs = Jobs(place)
            good, runs = jobs.apply("good", job()), jobs.apply("runs", job("serve"))
            bad, odd = jobs.apply("bad", job("false")), jobs.apply("odd", job(runtimeEnv={"pip": ["x"]}))
            status = await jobs.ended("good")
            assert (status["phase"], status["exitCode"], status["attempts"]) == ("Succeeded", 0, 1)
            assert status["submissionId"] == f"mj-{good}-1"
            status = await jobs.ended("bad")
            assert (status["phase"], status["exitCode"]) == ("Failed", 1)
            assert jobs.reason("bad", "Failed") == "BackoffLimitExceeded"
            status = await jobs.ended("odd")
            assert (status["message"], jobs.reason("odd", "Failed")) == ("pip cannot be used yet", "InvalidRuntimeEnv")
            await jobs.runs("runs")
            assert jobs.get("runs")["metadata"]["finalizers"] == [FINALIZER]
            assert dashboard.starts == {f"mj-{good}-1": 1, f"mj-{bad}-1": 1, f"mj-{runs}-1": 1}
            assert odd not in str(dashboard.jobs)
            await rests(proxy)

            dashboard.end(f"mj-{runs}-1", "SUCCEEDED", 0)
            assert (await jobs.ended("runs"))["phase"] == "Succeeded"

    asyncio.run(body())


def test_a_job_waits_for_its_cluster_and_says_so(kube, kubelet, identity, place, tmp_path):
    """There is none, it is suspended, its head does not answer; then it runs."""

    async def body():
        async with running(kube, identity, tmp_path, place) as (operator, _):
            jobs = Jobs(place)
            jobs.apply("early", job())
            await until(lambda: jobs.reason("early") == "ClusterNotFound", "there is no cluster")
            place.apply(cluster(replicas=1, suspend=True))
            await until(lambda: jobs.reason("early") == "ClusterSuspended", "it is suspended")
            place.apply(cluster(replicas=1))
            await until(lambda: jobs.reason("early") == "ClusterNotReady", "its head does not answer")
            await settled(place, operator)
            assert jobs.get("early")["metadata"].get("finalizers") is None
            async with stand_in_dashboard(*head_of(place), tmp_path / "dashboard"):
                assert (await jobs.ended("early"))["phase"] == "Succeeded"

    asyncio.run(body())


def test_suspended_and_resumed(kube, kubelet, identity, place, tmp_path):
    """What runs is stopped; resumed, it begins anew; at rest nothing is written."""

    async def body():
        async with with_head(kube, identity, place, tmp_path) as (_, proxy, dashboard):
            jobs = Jobs(place)
            uid = jobs.apply("train", job("serve"))
            await until(lambda: jobs.phase("train") == "Running", "it runs")
            jobs.apply("train", job("serve", suspend=True))
            await until(lambda: "Suspended" in jobs.events("train"), "it is suspended, and people were told")
            assert (jobs.phase("train"), dashboard.alive) == ("Suspended", [])
            await rests(proxy)
            jobs.apply("train", job("serve", suspend=False))
            await until(lambda: dashboard.alive == [f"mj-{uid}-2"], "it runs again")
            await until(lambda: jobs.phase("train") == "Running", "and is said to")
            dashboard.end(f"mj-{uid}-2", "SUCCEEDED", 0)
            status = await jobs.ended("train")
            assert (status["attempts"], status.get("failed", 0), status["interrupted"]) == (2, 0, 1)

    asyncio.run(body())


def test_a_deleted_job_is_stopped_and_a_cluster_that_is_gone_blocks_nothing(kube, kubelet, identity, place, tmp_path):
    async def body():
        async with with_head(kube, identity, place, tmp_path) as (_, _, dashboard):
            jobs = Jobs(place)
            uid = jobs.apply("train", job("serve"))
            await until(lambda: jobs.phase("train") == "Running", "it runs")
            place.delete(JOBS, "train")
            await until(lambda: jobs.get("train") is None, "it is gone")
            assert dashboard.stops == {f"mj-{uid}-1": 1}
            assert dashboard.alive == []

            jobs.apply("other", job("serve"))
            await until(lambda: jobs.phase("other") == "Running", "another one runs")
            dashboard.silent = True
            dashboard.cut()
            place.delete(JOBS, "other")
            assert jobs.get("other") is not None
            place.delete(CLUSTERS, NAME)
            await until(lambda: jobs.get("other") is None, "its cluster is gone, and so is it")

    asyncio.run(body())


def test_a_head_without_a_memory_costs_a_try(kube, kubelet, identity, place, tmp_path):
    """The driver went with it. A cut alone costs nothing."""

    async def body():
        async with with_head(kube, identity, place, tmp_path) as (_, proxy, dashboard):
            jobs = Jobs(place)
            uid = jobs.apply("train", job("serve"))
            await jobs.runs("train")
            dashboard.cut()
            await rests(proxy)
            assert jobs.phase("train") == "Running"
            dashboard.forget()
            status = await jobs.ended("train")
            assert (status["phase"], status["failed"]) == ("Failed", 1)
            assert "no record" in status["message"]
            assert dashboard.starts == {f"mj-{uid}-1": 1}

    asyncio.run(body())


@pytest.mark.timeout(600)
def test_the_operator_may_be_killed_after_every_write_of_a_jobs_life(kube, kubelet, identity, place, tmp_path):
    """From its first status to its deletion when its time is over: each try is started once, and the object goes."""

    async def body():
        async with with_head(kube, identity, place, tmp_path) as (operator, _, dashboard):
            operator.kill()
            jobs, met, uids = Jobs(place), [], {}
            for k in range(1, MOST_WRITES + 1):
                name = f"train-{k}"
                async with behind(kube, identity, tmp_path) as proxy:
                    with started(proxy, tmp_path, place, lease=f"kill-{k}") as process:

                        def kill(k=k, process=process):
                            met.append(k)
                            process.kill()

                        proxy.after_change(k, kill)
                        uids[name] = jobs.apply(name, job(ttlSecondsAfterFinished=0))
                        await until(lambda: k in met or jobs.get(name) is None, f"kill {k} is met, or all is done")  # noqa: B023
                if k not in met:
                    break
                async with running(kube, identity, tmp_path, place, lease=f"after-{k}") as (_, proxy):
                    await until(lambda: jobs.get(name) is None, f"{name} is done and gone")  # noqa: B023
            assert met == list(range(1, len(met) + 1))
            assert 4 <= len(met) < MOST_WRITES
            assert dashboard.starts == {f"mj-{uid}-1": 1 for uid in uids.values()}

    asyncio.run(body())


@pytest.mark.timeout(300)
def test_on_a_real_head(kube, kubelet, identity, place, tmp_path):
    """`manta start` at the pod's address, with the credentials that the operator made: exit code and output come back."""

    async def body():
        async with running(kube, identity, tmp_path, place) as (operator, proxy):
            place.apply(cluster(replicas=1))
            await settled(place, operator)
            address, secret = head_of(place)
            folder = tmp_path / "state" / "credentials"
            folder.mkdir(parents=True, mode=0o700)
            for name, content in secret.items():
                write_private(str(folder / name), base64.b64decode(content))
            jobs = Jobs(place)
            with heads.started(
                "--node-ip", address, "--dashboard-port", str(PORT), "--state-dir", str(folder.parent), "--no-gateway",
                "--no-metrics",
            ):  # fmt: skip
                jobs.apply("good", job("python -c 'import manta; manta.init(); print(6 * 7)'"))
                jobs.apply("bad", job("echo oh; exit 3"))
                jobs.apply("runs", job("sleep 1000"))
                status = await jobs.ended("good")
                assert (status["phase"], status["exitCode"]) == ("Succeeded", 0), status
                assert "42" in status["logTail"]
                status = await jobs.ended("bad")
                assert (status["exitCode"], status["logTail"]) == (3, "oh\n")
                await jobs.runs("runs")
                await rests(proxy)
                place.delete(JOBS, "runs")
                await until(lambda: jobs.get("runs") is None, "it was stopped, and is gone")

    with no_leaks([kind for kind in KINDS if kind not in ("threads", "fds", "memory", "processes", "files")]):
        asyncio.run(body())
