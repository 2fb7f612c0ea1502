"""A head as `manta start --head` makes it, with every port it has, for each module that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import heads

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def head(module_sandbox) -> Iterator[heads.Head]:
    """A cluster of one node, with its gateway and its HTTP server."""
    with heads.started() as head:
        yield head
