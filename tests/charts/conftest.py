"""helm and helm-unittest, which `./dev kube` and `./dev test` build where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.charts import programs
from tests.charts.rendering import Helm


def need_helm() -> None:
    """Skip where there is none; where one is required (`MANTA_TEST_KUBE=required`) fail."""
    missing = programs.what_is_missing()
    if missing and os.environ.get("MANTA_TEST_KUBE") == "required":
        pytest.fail(f"there is no helm, and this run must not go without: {missing}")
    if missing:
        pytest.skip(f"needs helm: {missing}")


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """It renders."""
    need_helm()
    return Helm(programs.helm(), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def helm_unittest() -> Path:
    """The program that runs the charts' own suites."""
    need_helm()
    return programs.UNITTEST.build()
