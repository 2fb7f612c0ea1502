"""A store and a Lease outlive the API server's restarts, over TLS as in the real world: a control plane of this module's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from manta_operator.kube.lease import Leadership
from manta_operator.kube.reflector import Limits, Reflector
from manta_operator.kube.resources import CONFIG_MAPS, PODS, Key
from manta_operator.kube.store import Store, label, owners
from manta_operator.kube.tenure import Terms
from manta_operator.kube.transport import connect
from manta_operator.kube.trimming import pod as trimmed
from tests.kube.conftest import need_control_plane
from tests.kube.harness.client import Api
from tests.kube.harness.control_plane import control_plane

PATH = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A control plane that may be stopped."""
    need_control_plane()
    with control_plane(Path(tmp_path_factory.mktemp("own"))) as running:
        yield running


async def until(condition, within_s=60.0):
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


def test_a_copy_and_a_leader_outlive_a_restart_of_the_server(own):
    """Changes from before, and from after it; the leader is the same, and was not sure of it in between for too long."""

    async def body():
        # Certificates on both sides, as the kubeconfig says: no proxy in between.
        async with connect(own.kubeconfig) as transport, connect(own.kubeconfig, connections=2) as lease:
            store = Store()
            reflector = Reflector(transport, CONFIG_MAPS, store, namespace="default", limits=Limits(answer_s=5.0))
            leadership = Leadership(lease, Key("default", "operator"), "me", terms=Terms.of(60))
            tasks = [asyncio.create_task(reflector.run()), asyncio.create_task(leadership.run())]
            try:
                await asyncio.wait_for(reflector.synced.wait(), 60.0)
                await asyncio.wait_for(leadership.leading(), 60.0)
                with Api(own.kubeconfig) as api:
                    assert api.create(PATH, {"metadata": {"name": "before"}}).ok
                    await until(lambda: store.get(Key("default", "before")))
                await asyncio.to_thread(own.stop, "apiserver")
                await asyncio.to_thread(own.start, "apiserver")
                with Api(own.kubeconfig) as api:
                    assert api.create(PATH, {"metadata": {"name": "after"}}).ok
                    assert api.delete(f"{PATH}/before").ok
                    await until(lambda: store.get(Key("default", "after")) and not store.get(Key("default", "before")))
                    await until(lambda: leadership.leads)
                    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/operator"
                    assert api.get(path).body["spec"]["leaseTransitions"] == 0
                assert reflector.failures > 0
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(body())


def test_a_trimmed_and_indexed_copy_has_what_the_server_has(own):
    """By owner and by label, and after an object has moved from one label to another."""

    async def body():
        store = Store({"owner": owners, "cluster": label("manta.compute/cluster")}, trimmed)
        async with connect(own.kubeconfig) as transport:
            reflector = Reflector(transport, PODS, store, namespace="default", limits=Limits(page=2))
            running = asyncio.create_task(reflector.run())
            try:
                with Api(own.kubeconfig) as api:
                    uid = api.create(PATH, {"metadata": {"name": "owner"}}).body["metadata"]["uid"]
                    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "controller": True}
                    for number in range(5):
                        metadata = {
                            "name": f"p{number}",
                            "labels": {"manta.compute/cluster": "a" if number < 3 else "b"},
                            "ownerReferences": [owner],
                        }
                        spec = {"containers": [{"name": "c", "image": "i"}]}
                        assert api.create("/api/v1/namespaces/default/pods", {"metadata": metadata, "spec": spec}).ok

                    def names(index, value):
                        return sorted(one["metadata"]["name"] for one in store.by(index, value))

                    await until(lambda: len(names("owner", uid)) == 5)
                    assert names("cluster", "default/a") == ["p0", "p1", "p2"]
                    moved = {"metadata": {"labels": {"manta.compute/cluster": "b"}}}
                    path = "/api/v1/namespaces/default/pods/p0"
                    assert api.call("PATCH", path, moved, content_type="application/merge-patch+json").ok
                    await until(lambda: names("cluster", "default/b") == ["p0", "p3", "p4"])
                    assert names("cluster", "default/a") == ["p1", "p2"]
                    one = store.get(Key("default", "p1"))
                    assert one is not None
                    assert "containers" not in one["spec"]
                    assert "managedFields" not in one["metadata"]
                    size = api.get("/api/v1/namespaces/default/pods/p1").body
                    assert len(str(one)) < len(str(size)) / 2
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(body())
