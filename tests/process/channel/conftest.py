"""One small cluster per module, in this very process, so that the driver's socket is a target too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import manta


@pytest.fixture(scope="module")
def raylet() -> Iterator[Path]:
    """The raylet's socket; every other process of the cluster listens beside it."""
    context = manta.init(num_cpus=2, object_store_memory=128 << 20, log_to_driver=False)
    yield Path(context.address_info["raylet_socket_name"].removeprefix("unix:"))
    manta.shutdown()
