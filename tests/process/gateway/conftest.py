"""A cluster with a gateway per module, and drivers that join it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support import gateway, through_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

through_gateway.warm_up()


@pytest.fixture(scope="module")
def door(module_sandbox) -> Iterator[gateway.Door]:
    """A gateway to a cluster of one node."""
    folder = module_sandbox.path / "door"
    folder.mkdir()
    with gateway.cluster(folder, "--grace", "5", "--max-connections", "60", "--idle", "3") as door:
        yield door
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def no_session() -> Iterator[None]:
    """Whatever a test joined, it leaves."""
    import manta

    yield
    manta.shutdown()
