"""pytest fixtures, for everybody whose conftest says so: `pytest_plugins = ["manta.testing.pytest_plugin"]`.

What they need is imported when a test asks for one.

    def test_it(manta_local): ...        # this process has joined an embedded cluster of its own
    def test_it(manta_cluster): ...      # a `manta.testing.Cluster` with a head, which this process has joined

Override `manta_local_args` or `manta_head_args` in a conftest or module for other sizes.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from manta.api.context import RayContext
    from manta.testing.cluster import Cluster


@pytest.fixture
def manta_local_args() -> dict[str, Any]:
    """What `manta_local` passes to `manta.init`: two CPUs. Override it for others."""
    return {"num_cpus": 2}


@pytest.fixture
def manta_local(manta_local_args: dict[str, Any]) -> Iterator[RayContext]:
    """This process has joined an embedded cluster that ends with the test; what `manta.init` returned."""
    import manta

    context = manta.init(address="local", **manta_local_args)
    try:
        yield context
    finally:
        manta.shutdown()


@pytest.fixture
def manta_head_args() -> dict[str, Any]:
    """What the head of `manta_cluster` has: two CPUs. Override it for others."""
    return {"num_cpus": 2}


@pytest.fixture
def manta_cluster(manta_head_args: dict[str, Any]) -> Iterator[Cluster]:
    """A cluster of several processes that ends with the test, with a head on which this process is a driver; add nodes to it."""
    from manta.testing import Cluster

    with Cluster(head_node_args=manta_head_args, connect=True) as cluster:
        yield cluster
