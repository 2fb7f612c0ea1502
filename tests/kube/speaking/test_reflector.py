"""A store is an exact copy of what the API server has, soon, whatever happens on the way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from manta_operator.kube.reflector import Limits, Reflector
from manta_operator.kube.resources import CONFIG_MAPS
from manta_operator.kube.store import Store
from manta_operator.kube.transport import connect
from tests.kube.harness.proxy import (
    Cut,
    CutWatch,
    Events,
    Fault,
    HalfOpen,
    Hold,
    Refuse,
    fault_proxy,
    lists,
    watches,
)

OURS = {"labels": {"test": "reflector"}}
LIMITS = Limits(page=3, answer_s=2.0, watch_s=60.0, silence_s=2.0)
#: In which nothing is given up that a busy machine does late.
PATIENT = Limits(page=3, answer_s=20.0, watch_s=60.0, silence_s=60.0)


class Subject:
    """A namespace's ConfigMaps, changed by the tests' own client and copied through the proxy."""

    def __init__(self, api, namespace, proxy, reflector):
        self.api, self.proxy, self.reflector = api, proxy, reflector
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"

    def put(self, name, value="1"):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **OURS}, "data": {"value": value}}
        assert self.api.apply(f"{self.path}/{name}", body).ok

    def delete(self, name):
        assert self.api.delete(f"{self.path}/{name}").ok

    def copy(self):
        return {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in self.reflector.store.all()}

    def truth(self):
        items = self.api.get(self.path, labelSelector="test=reflector").body["items"]
        return {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in items}

    async def exact(self, within_s=20.0):
        """The copy is what there is; nothing changes meanwhile."""
        truth = self.truth()
        await until(lambda: self.copy() == truth, within_s, lambda: f"{self.copy()} is not {truth}")


async def until(condition, within_s=20.0, what=lambda: "it did not come true"):
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(what()) from None


@asynccontextmanager
async def copying(kube, api, namespace, folder, *faults, before=(), limits=LIMITS):
    """A reflector at work behind a proxy with these faults, over objects that are there already."""
    async with (
        fault_proxy(kube, kube.kubeconfig_of("admin", groups=["system:masters"]), folder) as proxy,
        connect(proxy.kubeconfig) as transport,
    ):
        for fault in faults:
            proxy.add(fault)
        reflector = Reflector(
            transport,
            CONFIG_MAPS,
            Store(),
            namespace=namespace,
            selector="test=reflector",
            limits=limits,
            unit=lambda: 0.5,
        )
        subject = Subject(api, namespace, proxy, reflector)
        for name in before:
            subject.put(name)
        running = asyncio.create_task(reflector.run())
        try:
            yield subject
        finally:
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled(), running.exception()


async def changes(subject):
    """Some of each kind: added, changed, deleted, and deleted and made anew."""
    subject.put("a", "2")
    subject.put("new")
    subject.delete("b")
    subject.delete("c")
    subject.put("c", "3")


def lost(event):
    """Nothing but bookmarks comes through."""
    return [event] if event["type"] == "BOOKMARK" else []


def twice(event):
    return [event, event]


FAULTS = {
    "no fault": [],
    "the first list is refused": [Fault(lists, Refuse(500)), Fault(lists, Refuse(429, retry_after_s=1))],
    "the first list hangs": [Fault(lists, Hold(asyncio.Event()))],
    "the first list is cut": [Fault(lists, Cut())],
    "the watch is refused": [Fault(watches, Refuse(503)), Fault(watches, Refuse(429, "TooManyRequests"))],
    "the watch is too late": [Fault(watches, Refuse(410, "Expired"), times=2)],
    "the watch is cut": [Fault(watches, Cut())],
    "the watch is cut within an event": [Fault(watches, CutWatch(after=1)), Fault(watches, CutWatch(after=0))],
    "the watch falls silent": [Fault(watches, HalfOpen(after=1))],
    "every event comes twice": [Fault(watches, Events(twice), times=None)],
}


@pytest.mark.parametrize("faults", FAULTS)
def test_the_copy_gets_exact(kube, api, namespace, tmp_path, faults):
    """After any single bad day of the network or the server, and the fault was met."""

    async def body():
        mine = [Fault(fault.match, fault.act, fault.times) for fault in FAULTS[faults]]
        async with copying(kube, api, namespace, tmp_path, *mine, before=["a", "b", "c", "d"]) as subject:
            await subject.exact()
            await changes(subject)
            await subject.exact()
            assert all(fault.met for fault in mine)

    asyncio.run(body())


def test_a_list_comes_in_pages_and_a_watch_without_a_list(kube, api, namespace, tmp_path):
    """Seven objects are three pages of three; what changes then costs no further list."""

    async def body():
        seven = [f"x{n}" for n in range(7)]
        async with copying(kube, api, namespace, tmp_path, before=seven, limits=PATIENT) as subject:
            await asyncio.wait_for(subject.reflector.synced.wait(), 20.0)
            assert len(subject.copy()) == 7
            subject.put("more")
            await subject.exact()
            assert len([one for one in subject.proxy.requests if lists(one)]) == 3
            assert (subject.reflector.lists, subject.reflector.failures) == (1, 0)

    asyncio.run(body())


def test_deletions_that_nobody_told_are_found_by_the_next_list(kube, api, namespace, tmp_path):
    """Events are lost, then the version is gone: what is deleted meanwhile leaves the copy, and listeners are told."""

    async def body():
        # Events are lost until the watch is ended by its silence; the next one's version is said to be gone.
        faults = [Fault(watches, HalfOpen()), Fault(watches, Refuse(410, "Expired"))]
        limits = replace(LIMITS, answer_s=20.0)
        async with copying(kube, api, namespace, tmp_path, *faults, before=["a", "b"], limits=limits) as subject:
            await subject.exact()
            told = []
            subject.reflector.store.listen(lambda before, after: told.append((before, after)))
            del told[:]
            subject.delete("a")
            await subject.exact()
            assert [(before["metadata"]["name"], after) for before, after in told] == [("a", None)]
            assert subject.reflector.lists == 2

    asyncio.run(body())
