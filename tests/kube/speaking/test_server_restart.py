"""A store, a Lease and a whole operator outlive the API server's restarts, over TLS as in the real world.

The control plane is this module's own.
"""

from __future__ import annotations

import asyncio
import http.client
import re
from contextlib import suppress
from pathlib import Path

import pytest

from manta_operator.kube.lease import Leadership
from manta_operator.kube.reflector import Limits, Reflector
from manta_operator.kube.resources import CONFIG_MAPS, PODS, Key
from manta_operator.kube.store import Store, label, owners
from manta_operator.kube.tenure import Terms
from manta_operator.kube.transport import connect
from manta_operator.kube.trimming import pod as trimmed
from tests.kube.conftest import define, need_control_plane
from tests.kube.harness.client import Api
from tests.kube.harness.control_plane import control_plane
from tests.kube.harness.kubelet import stand_in_nodes
from tests.kube.harness.operator import operator
from tests.kube.reconciling.states import Place, cluster
from tests.support.ports import free_port
from tests.support.waiting import wait_until

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


def asked(port, path):
    """What the operator's port answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def number(port, name):
    """A metric's value."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", asked(port, "/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else None


@pytest.mark.timeout(480)
def test_an_operator_outlives_a_restart_of_the_server_and_says_so(own, tmp_path):
    """Not ready meanwhile, and no leader; then it watches on, and writes what is new and nothing else."""
    with Api(own.kubeconfig) as api, stand_in_nodes(own, tmp_path / "controls") as kubelet:
        define(api)
        place = Place(api, "default")

        def changes():
            """What it has written, Leases and tries aside."""
            return [
                (call.verb, call.resource, call.subresource)
                for call in own.audit()
                if call.agent == "manta-operator"
                and call.writes
                and call.resource != "leases"
                and "dryRun" not in call.uri
            ]

        port = free_port()
        metrics = ("--metrics-host", "127.0.0.1", "--metrics-port", str(port))
        more = {"lease_namespace": "default", "lease_s": 6, "more": metrics}
        with operator(own.kubeconfig, tmp_path, "default", **more) as process:

            def wait(condition, what):
                # Controllers and scheduler come back too, each in its own time: up to half a minute after the server.
                try:
                    wait_until(condition, timeout_s=120.0, what=what)
                except AssertionError as late:
                    seen = [
                        (one["metadata"]["name"], one["spec"].get("nodeName"), one["status"]) for one in place.all(PODS)
                    ]
                    said = place.mine.get("status")
                    raise AssertionError(f"{late}\n{said}\n{seen}\n{process.log.read_text()[-4000:]}") from None

            place.apply(cluster())
            wait(place.settled, "the cluster to be ready")
            before = place.secrets()
            assert asked(port, "/readyz")[0] == 200
            assert number(port, 'manta_operator_unread_seconds{resource="pods"}') == 0.0

            own.stop("apiserver")
            wait(lambda: asked(port, "/readyz")[0] == 503, "it to say that it is not ready")
            assert "cannot read" in asked(port, "/readyz")[1]
            assert asked(port, "/healthz")[0] == 200
            assert number(port, 'manta_operator_unread_seconds{resource="pods"}') >= 5.0
            wait(lambda: number(port, "manta_operator_leader") == 0.0, "it not to lead without its Lease")
            own.start("apiserver")
            with suppress(OSError, http.client.HTTPException):
                api.get("/readyz")  # the connection of before
            wait(lambda: asked(port, "/readyz")[0] == 200, "it to be ready again")
            wait(lambda: number(port, "manta_operator_leader") == 1.0, "it to lead again")
            assert number(port, 'manta_operator_unread_seconds{resource="pods"}') == 0.0
            wait(place.settled, "the cluster to be ready still")
            written = len(changes())

            place.apply(cluster(replicas=3))
            wait(lambda: len(place.pods()) == 4, "a third worker")
            after = changes()[written:]
            assert [one for one in after if one[1] == "pods"] == [("create", "pods", "")]
            assert {one[1:] for one in after} <= {("pods", ""), ("mantaclusters", "status"), ("events", "")}
            assert place.secrets() == before
            assert process.alive
        assert kubelet.wrong == []
