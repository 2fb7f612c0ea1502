"""One control plane for all tests here, and a namespace for each."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from manta_operator.api.definitions import ALL, file_of
from manta_operator.api.names import GROUP_VERSION
from tests.kube.harness.client import Api
from tests.kube.harness.control_plane import ControlPlane, control_plane, what_is_missing
from tests.support.waiting import wait_until

#: The first test of a run has the start of the control plane within its time.
TIMEOUT_S = 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here that much, unless it says otherwise."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def need_control_plane() -> None:
    """Skip where there can be none; where one is required (`MANTA_TEST_KUBE=required`) fail."""
    missing = what_is_missing()
    if missing and os.environ.get("MANTA_TEST_KUBE") == "required":
        pytest.fail(f"there is no Kubernetes control plane, and this run must not go without: {missing}")
    if missing:
        pytest.skip(f"needs a Kubernetes control plane: {missing}")


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The control plane. Whoever stops parts of one starts one of their own."""
    need_control_plane()
    with control_plane(Path(tmp_path_factory.mktemp("kube"))) as running:
        yield running


@pytest.fixture(scope="session")
def api(kube: ControlPlane) -> Iterator[Api]:
    """An administrator's client."""
    with Api(kube.kubeconfig) as client:
        yield client


@pytest.fixture(scope="session")
def definitions(api: Api) -> None:
    """The definitions, as charts ship them, established."""
    define(api)


def define(api: Api) -> None:
    """Have the definitions at an API server, and wait until it serves them."""
    root = Path(__file__).resolve().parents[2]
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for definition in ALL:
        manifest = yaml.safe_load(file_of(definition, root).read_text())
        answer = api.apply(f"{path}/{definition.name}", manifest)
        assert answer.ok, answer.message
    for definition in ALL:
        wait_until(
            partial(_established, api, f"{path}/{definition.name}"),
            timeout_s=60.0,
            what=f"{definition.name} is established",
        )
        wait_until(partial(_served, api, definition.plural), timeout_s=60.0, what=f"{definition.plural} are served")


def _served(api: Api, plural: str) -> bool:
    return api.get(f"/apis/{GROUP_VERSION}/{plural}").ok


def _established(api: Api, path: str) -> bool:
    conditions = (api.get(path).body.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t-{secrets.token_hex(4)}"
    assert api.create("/api/v1/namespaces", {"metadata": {"name": name}}).ok
    yield name
    api.delete(f"/api/v1/namespaces/{name}")
