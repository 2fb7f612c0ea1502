"""A node per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.raylet.node import Node, Raylet


@pytest.fixture
def node(sandbox) -> Iterator[Node]:
    """An empty session; whatever is started in it is ended."""
    node = Node(sandbox.path)
    try:
        yield node
    finally:
        node.close()


@pytest.fixture
def raylet(node: Node) -> Raylet:
    """Control and one raylet with two CPUs."""
    node.start_control()
    return node.start_raylet()
