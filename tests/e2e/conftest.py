"""One cluster for all tests here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import ways
from tests.e2e.harness.cluster import Cluster, cluster
from tests.e2e.harness.kept import CannotMakeError
from tests.e2e.support import charts

#: The first test of a run has the start of the cluster, and maybe the building of images, within its time.
TIMEOUT_S = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here that much, unless it says otherwise."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster. Where there can be none tests are skipped, and fail where one is required (`MANTA_TEST_KUBE=required`)."""
    missing = ways.what_is_missing(ways.way(), may_build=False)
    required = os.environ.get("MANTA_TEST_KUBE") == "required"
    if missing and required:
        pytest.fail(f"there is no cluster, and this run must not go without: {missing}")
    if missing:
        pytest.skip(f"needs a cluster with nodes: {missing}")
    try:
        with cluster(tmp_path_factory.mktemp("e2e")) as running:
            yield running
    except CannotMakeError as error:
        pytest.fail(f"the cluster could not be made: {error}")


@pytest.fixture(scope="module")
def operator(kubernetes: Cluster) -> Iterator[Cluster]:
    """The cluster, with the operator in it: each module's own, as installing it is what is tested most."""
    with charts.operator(kubernetes):
        yield kubernetes


@pytest.fixture(scope="module")
def namespace(kubernetes: Cluster) -> Iterator[str]:
    """A namespace of the module's own, with the restricted standard enforced."""
    with kubernetes.namespace() as name:
        yield name


@pytest.fixture(scope="module")
def demo(operator: Cluster, namespace: str) -> Iterator[str]:
    """A MantaCluster for all tests of a module; its name."""
    with charts.manta_cluster(operator, namespace) as name:
        yield name
