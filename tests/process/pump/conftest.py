"""Settles pytest's own folder before a test's sandbox changes where temporary files go."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def folder_for_temporary_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path_factory.getbasetemp()
