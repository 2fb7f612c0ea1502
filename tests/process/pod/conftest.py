"""A cluster of two pods per module."""

from __future__ import annotations

import pytest

from tests.support import pods


@pytest.fixture(scope="module")
def cluster(module_sandbox):
    """It runs: a worker that came before its head has joined it."""
    folder = module_sandbox.path / "pods"
    folder.mkdir()
    with pods.cluster(folder) as made:
        made.start()
        made.wait_ready()
        yield made
    folder.rmdir()
