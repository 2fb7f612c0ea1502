"""One small cluster per module; after every test it must still work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import manta

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A module that starts its own clusters sets CLUSTER = None.
CLUSTER: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 128 * 1024 * 1024, "log_to_driver": False}


@pytest.fixture(scope="module", autouse=True)
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """The module's cluster."""
    settings = getattr(request.module, "CLUSTER", CLUSTER)
    if settings is not None:
        manta.init(**settings)
    yield
    manta.shutdown()


@pytest.fixture(autouse=True)
def no_driver_left() -> Iterator[None]:
    """A test that failed half-way leaves no driver behind."""
    from tests.process.semantics.support import started_drivers

    yield
    while started_drivers:
        driver = started_drivers.pop()
        driver.kill()
        driver.communicate()


@pytest.fixture(autouse=True)
def still_works(request: pytest.FixtureRequest, cluster: None) -> Iterator[None]:
    """The process lives and nothing is lost: after the mistake an honest call is answered."""
    yield
    if getattr(request.module, "CLUSTER", CLUSTER) is not None:
        assert manta.get(manta.remote(lambda: "alive").remote(), timeout=20) == "alive"
