"""A cluster whose gateway is reached through an API server's port-forward, as the head of a MantaCluster is."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support import gateway, kube_api, through_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = f"k8s://{kube_api.NAMESPACE}/{kube_api.NAME}"

through_gateway.warm_up()


@pytest.fixture(scope="module")
def door(module_sandbox) -> Iterator[gateway.Door]:
    """A gateway to a cluster of one node, with the certificate that a MantaCluster's has."""
    folder = module_sandbox.path / "door"
    folder.mkdir()
    with gateway.cluster(
        folder, "--grace", "20", "--max-connections", "200", store_bytes=400 << 20, name=kube_api.UID
    ) as door:
        yield door
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def api_server(door, module_sandbox) -> Iterator[kube_api.KubeApi]:
    """The API server."""
    folder = module_sandbox.path / "api"
    folder.mkdir()
    with kube_api.running(folder, {7620: door.port}) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def api(api_server, door, monkeypatch):
    """The API server with a cluster that takes drivers, as each test finds it; KUBECONFIG leads there."""
    for name in ("MANTA_ADDRESS", "MANTA_TOKEN", "MANTA_CA_FILE", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    api_server.objects.clear()
    api_server.requests.clear()
    api_server.tokens = {kube_api.TOKEN}
    api_server.faults = kube_api.Faults()
    api_server.ports = {7620: door.port}
    api_server.put_cluster(kube_api.available(), token=door.submitter, authority=(door.folder / "ca.pem").read_bytes())
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig()))
    return api_server


@pytest.fixture(autouse=True)
def no_session() -> Iterator[None]:
    """Whatever a test joined, it leaves."""
    import manta

    yield
    manta.shutdown()
