"""The operator's client and a head begun by `manta start`: it submits, hears of every change, and stops."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import pytest

from manta.aio.supervisor import Supervisor
from manta.transport.tls import read_cluster
from manta_operator.heads.client import Head, HeadError, connections
from manta_operator.heads.endpoint import Endpoint
from manta_operator.heads.following import Heads
from manta_operator.job.submission import PREFIX
from manta_operator.kube.resources import Key
from tests.support import heads

pytestmark = pytest.mark.shared_cluster

CLUSTER = Key("team", "demo")


@pytest.fixture(scope="module")
def head(module_sandbox):
    """A cluster of one node with its HTTP server."""
    with heads.started("--no-gateway", "--no-metrics") as head:
        yield head


def endpoint_of(head, *, role="submitter", name=""):
    cluster = read_cluster(str(head.credentials))
    return Endpoint(
        cluster="uid",
        host="127.0.0.1",
        port=head.port_of("dashboard"),
        server_name=name or f"dashboard.{cluster}.manta",
        authority=(head.credentials / "ca.crt").read_text(),
        token=head.token(role),
    )


class Followed:
    """One head that is followed, and what was heard."""

    def __init__(self, heads):
        self.heads, self.changed = heads, asyncio.Event()

    def hear(self, cluster, ids):
        assert cluster == CLUSTER
        self.changed.set()

    async def until(self, condition):
        async with asyncio.timeout(40):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def over(self, submission_id):
        def ended():
            job = self.heads.jobs(CLUSTER).get(submission_id)
            return job is not None and job.state.over

        await self.until(ended)
        return self.heads.jobs(CLUSTER)[submission_id]

    async def begun(self, submission_id):
        await self.until(lambda: self.heads.jobs(CLUSTER)[submission_id].began_at is not None)


@asynccontextmanager
async def following(endpoint):
    async with connections() as session, Supervisor() as tasks:
        followed = Followed(None)
        followed.heads = Heads(session, tasks, PREFIX, followed.hear)
        followed.heads.want(CLUSTER, endpoint, "job")
        await followed.until(lambda: followed.heads.synced(CLUSTER))
        yield followed


def test_a_job_is_followed_from_its_submission_to_its_end(head):
    """Its exit code, its times and the end of its output come without being asked for."""

    async def body():
        async with following(endpoint_of(head)) as followed:
            await followed.heads.submit(
                CLUSTER, {"submission_id": "mj-a-1", "entrypoint": "echo begun; echo over >&2; exit 3"}
            )
            assert "mj-a-1" in followed.heads.jobs(CLUSTER)
            job = await followed.over("mj-a-1")
            assert (job.state.value, job.exit_code, job.log_tail) == ("FAILED", 3, "begun\nover\n")
            assert "exit code 3" in job.message
            assert job.began_at <= job.ended_at

    asyncio.run(body())


def test_a_job_is_submitted_once_however_often_it_is_said(head, tmp_path):
    """Also when its environment is said differently the second time, as after a change of a MantaJob."""

    async def body():
        async with following(endpoint_of(head)) as followed:
            job = {"submission_id": "mj-b-1", "entrypoint": f"echo ran >> {tmp_path}/ran"}
            for environment in ({}, {}, {"env_vars": {"A": "1"}}):
                await followed.heads.submit(CLUSTER, {**job, "runtime_env": environment})
            assert (await followed.over("mj-b-1")).state.value == "SUCCEEDED"
            assert (tmp_path / "ran").read_text() == "ran\n"

    asyncio.run(body())


def test_a_job_that_runs_is_stopped_and_its_end_is_heard(head):
    async def body():
        async with following(endpoint_of(head)) as followed:
            await followed.heads.submit(CLUSTER, {"submission_id": "mj-c-1", "entrypoint": "sleep 1000"})
            await followed.begun("mj-c-1")
            await followed.heads.stop(CLUSTER, "mj-c-1")
            await followed.until(lambda: followed.heads.jobs(CLUSTER)["mj-c-1"].stopping)
            assert (await followed.over("mj-c-1")).state.value == "STOPPED"
            await followed.heads.stop(CLUSTER, "mj-c-1")
            await followed.heads.stop(CLUSTER, "mj-unknown-1")

    asyncio.run(body())


@pytest.mark.parametrize("server", ["manta.dashboard", "manta.control"])
def test_what_ends_while_a_server_is_killed_is_heard_when_it_is_back(head, server, tmp_path):
    """The job goes on; who follows comes again by itself, and has missed nothing."""

    async def body():
        async with following(endpoint_of(head)) as followed:
            submission_id = f"mj-{server.rpartition('.')[2]}-1"
            entrypoint = f"while ! [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 4"
            await followed.heads.submit(CLUSTER, {"submission_id": submission_id, "entrypoint": entrypoint})
            await followed.begun(submission_id)
            memory = followed.heads.memory(CLUSTER)
            os.kill(head.pid(server), signal.SIGKILL)
            (tmp_path / "go").touch()
            job = await followed.over(submission_id)
            assert (job.state.value, job.exit_code) == ("FAILED", 4)
            await followed.until(lambda: followed.heads.synced(CLUSTER))
            assert followed.heads.memory(CLUSTER) == memory

    asyncio.run(body())


def test_what_the_head_refuses_is_told_in_its_words(head):
    async def body():
        async with following(endpoint_of(head)) as followed:
            for more, code, words in (
                ({"runtime_env": {"pip": ["numpy"]}}, "INVALID_RUNTIME_ENV", "pip"),
                ({"entrypoint_num_cpus": "four"}, "INVALID_REQUEST", "entrypoint_num_cpus"),
            ):
                with pytest.raises(HeadError, match=words) as refused:
                    await followed.heads.submit(CLUSTER, {"submission_id": "mj-d-1", "entrypoint": "true", **more})
                assert (refused.value.status, refused.value.code, refused.value.final) == (400, code, True)
            assert "mj-d-1" not in followed.heads.jobs(CLUSTER)

    asyncio.run(body())


def test_another_clusters_head_is_not_spoken_with(head):
    """Its address may be another pod's by now: the name in the certificate decides, before a token is shown."""

    async def body():
        async with connections() as session:
            wrong = Head(session, endpoint_of(head, name="dashboard.another.manta"))
            with pytest.raises(HeadError, match="certificate") as refused:
                await wrong.submit({"submission_id": "mj-e-1", "entrypoint": "true"})
            assert refused.value.status == 0
            viewer = Head(session, endpoint_of(head, role="viewer"))
            with pytest.raises(HeadError) as refused:
                await viewer.submit({"submission_id": "mj-e-1", "entrypoint": "true"})
            assert (refused.value.status, refused.value.final) == (403, False)

    asyncio.run(body())


def test_who_follows_some_hears_nothing_of_others(head):
    """And a head that nobody wants anything of is not followed."""

    async def body():
        async with following(endpoint_of(head)) as followed:
            status, _ = await asyncio.to_thread(
                head.ask, "POST", "/api/jobs/", {"entrypoint": "true", "submission_id": "nightly"}, token="submitter"
            )
            assert status == 200
            await followed.heads.submit(CLUSTER, {"submission_id": "mj-f-1", "entrypoint": "true"})
            await followed.over("mj-f-1")
            assert all(one.startswith("mj-") for one in followed.heads.jobs(CLUSTER))
            followed.heads.unwant(CLUSTER, "job")
            assert len(followed.heads) == 0

    asyncio.run(body())
