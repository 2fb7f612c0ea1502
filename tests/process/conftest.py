"""What all tests of real processes share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def folder_for_temporary_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Settle pytest's own folder before a sandbox changes where temporary files go."""
    tmp_path_factory.getbasetemp()
