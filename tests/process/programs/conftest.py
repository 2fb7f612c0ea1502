"""What the programs need around them: a local web server, and one run of each program per test session."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.process import implementation
from tests.process.programs.harness import HERE, Run, run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Requests are not part of any test's output."""


@pytest.fixture(scope="session")
def web() -> Iterator[str]:
    """Address of a server of `web/`, which stands for the internet."""
    handler = functools.partial(_Quiet, directory=str(HERE / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="web", daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


#: Clusters the programs run on, by what a driver is started with.
CLUSTERS: dict[str, tuple[str, dict[str, str]]] = {
    "as it is": ("", {}),
    "three nodes": ("tests.support.three_nodes", {}),
    "three nodes, outside": ("tests.support.three_nodes", {"MANTA_TEST_GATEWAY": "1"}),
}


@pytest.fixture(scope="session", params=list(CLUSTERS) if implementation.IS_MANTA else ["as it is"])
def program(request: pytest.FixtureRequest, web: str) -> Callable[[str], Run]:
    """`program(folder)` runs a program once per cluster and then answers from memory: each cell is a test of its own."""
    starter, environment = CLUSTERS[request.param]
    whole = {"PROGRAM_WEB": web, **environment}

    def run(folder: str) -> Run:
        return run_program(folder, starter, **whole)

    return functools.cache(run)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of a module waits for a whole program, and on several nodes for their start."""
    for item in items:
        if item.path.parent == HERE and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))
