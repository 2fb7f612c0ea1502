"""A cluster with a dashboard per module."""

from __future__ import annotations

import shutil

import pytest

from tests.support import dashboard


@pytest.fixture(scope="module")
def page(module_sandbox):
    """A dashboard to a cluster of one node."""
    folder = module_sandbox.path / "page"
    folder.mkdir()
    with dashboard.cluster(folder, "--max-connections", "8", "--idle", "2") as running:
        yield running
    shutil.rmtree(folder)
