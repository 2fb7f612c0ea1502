"""Nodes that seem to be there, a user with the operator's own permissions, and namespaces with a cluster in them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manta_operator.permissions import Scope, rules
from tests.kube.harness.client import Api
from tests.kube.harness.control_plane import ControlPlane
from tests.kube.harness.kubelet import Kubelet, stand_in_nodes
from tests.kube.reconciling.states import Place

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="package")
def kubelet(kube: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    """Of three nodes. What went wrong in it fails the run at its end."""
    with stand_in_nodes(kube, tmp_path_factory.mktemp("controls")) as nodes:
        yield nodes
        assert nodes.wrong == []


@pytest.fixture(scope="package")
def may(api: Api) -> Iterator[Callable[[str], None]]:
    """Gives a user what the operator's role gives, and nothing else."""
    role = {"metadata": {"name": "manta-operator"}, "rules": rules(*Scope)}
    assert api.create(f"{RBAC}/clusterroles", role).ok

    def give(user: str) -> None:
        name = f"manta-operator-{secrets.token_hex(4)}"
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "manta-operator"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
        assert api.create(f"{RBAC}/clusterrolebindings", binding).ok
        given.append(name)

    given: list[str] = []
    yield give
    # Others install charts with a role of that name.
    for name in given:
        api.delete(f"{RBAC}/clusterrolebindings/{name}")
    api.delete(f"{RBAC}/clusterroles/manta-operator")


@pytest.fixture(scope="package")
def identity(kube: ControlPlane, may: Callable[[str], None]) -> Path:
    """The kubeconfig of a user who may what the operator may."""
    may("operator")
    return kube.kubeconfig_of("operator")


@pytest.fixture
def places(kube: ControlPlane, api: Api, definitions: None, kubelet: Kubelet) -> Iterator[Callable[[], Place]]:
    """Makes namespaces, each with a client of its own, and deletes them at the end of the test."""
    made: list[Place] = []

    def make() -> Place:
        place = Place(Api(kube.kubeconfig), f"r-{secrets.token_hex(4)}")
        assert place.api.create("/api/v1/namespaces", {"metadata": {"name": place.namespace}}).ok
        made.append(place)
        return place

    yield make
    for place in made:
        place.api.close()
        api.delete(f"/api/v1/namespaces/{place.namespace}")


@pytest.fixture
def place(places: Callable[[], Place]) -> Place:
    """One namespace."""
    return places()
