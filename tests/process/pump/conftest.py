"""What the tests of the pump share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_driver_left() -> Iterator[None]:
    """A test that failed half-way leaves no driver behind."""
    from tests.process.semantics.support import started_drivers

    yield
    while started_drivers:
        driver = started_drivers.pop()
        driver.kill()
        driver.communicate()
