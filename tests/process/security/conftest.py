"""A head as `manta start --head` makes it, with every port it has, for each module that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import heads

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def folder_for_temporary_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Settle pytest's own folder before a module's sandbox changes where temporary files go."""
    tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module")
def head(module_sandbox) -> Iterator[heads.Head]:
    """A cluster of one node, with its gateway and its HTTP server."""
    with heads.started() as head:
        yield head
