"""What tests of MantaJobs have in common: the objects of a namespace, and a cluster whose head takes jobs."""

from __future__ import annotations

from contextlib import asynccontextmanager

from manta_operator.kinds import JOBS
from manta_operator.kube.resources import EVENTS, PODS, SECRETS
from tests.kube.harness.dashboard import stand_in_dashboard
from tests.kube.reconciling.runs import running, settled, until
from tests.kube.reconciling.states import NAME, cluster


def job(entrypoint="true", **spec):
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "spec": {"clusterRef": {"name": NAME}, "entrypoint": entrypoint, **spec},
    }


class Jobs:
    """The MantaJobs of a namespace."""

    def __init__(self, place):
        self.place = place

    def apply(self, name, manifest):
        answer = self.place.api.apply(self.place.path(JOBS, name), {**manifest, "metadata": {"name": name}})
        assert answer.ok, answer.message
        return answer.body["metadata"]["uid"]

    def get(self, name):
        return self.place.get(JOBS, name)

    def status(self, name):
        return (self.get(name) or {}).get("status") or {}

    def phase(self, name):
        return self.status(name).get("phase")

    def reason(self, name, condition="Complete"):
        found = {one["type"]: one["reason"] for one in self.status(name).get("conditions") or []}
        return found.get(condition)

    async def runs(self, name):
        """It runs, and all that there is to write about that was written, the event last."""
        await until(lambda: self.phase(name) == "Running", f"{name} runs")
        await until(lambda: "Running" in self.events(name), f"people were told that {name} runs")

    def events(self, name):
        found = self.place.api.get(EVENTS.path(self.place.namespace)).body["items"]
        return [one["reason"] for one in found if one["regarding"]["name"] == name]

    async def ended(self, name):
        await until(lambda: self.phase(name) in ("Succeeded", "Failed"), f"{name} has ended: {self.status(name)}")
        await until(lambda: not self.get(name)["metadata"].get("finalizers"), f"{name} is released")
        return self.status(name)


def head_of(place):
    """The head pod's address and its Secret."""
    pod, secret = place.get(PODS, f"{NAME}-head"), place.get(SECRETS, f"{NAME}-head")
    return pod["status"]["podIP"], secret["data"]


@asynccontextmanager
async def with_head(kube, identity, place, folder):
    """A cluster that is ready, an operator, and a stand-in for the head's dashboard."""
    async with running(kube, identity, folder, place) as (operator, proxy):
        place.apply(cluster(replicas=1))
        await settled(place, operator)
        async with stand_in_dashboard(*head_of(place), folder / "dashboard") as dashboard:
            yield operator, proxy, dashboard
