"""One cluster per module; `import ray` means the chosen implementation (see tests/process/README.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.process import implementation

implementation.install()  # before any test module says `import ray`

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.semantics.support import Gate, Ledger

#: What a module's cluster has, unless the module sets CLUSTER. GPUs are numbers only: nothing here looks for hardware.
CLUSTER: dict[str, Any] = {
    "num_cpus": 4,
    "num_gpus": 2,
    "resources": {"slot": 2},
    "object_store_memory": 200 * 1024 * 1024,
    "namespace": "semantics",
    "log_to_driver": False,
    "include_dashboard": False,
}


@pytest.fixture(scope="module", autouse=True)
def cluster(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The module's cluster. A module with `CLUSTER = None` starts its own."""
    import ray

    settings = getattr(request.module, "CLUSTER", CLUSTER)
    if settings is None:
        yield None
    else:
        yield ray.init(**settings)
    ray.shutdown()


@pytest.fixture(autouse=True)
def no_driver_left() -> Iterator[None]:
    """A test that failed half-way leaves no driver behind, whose tasks would hold the others' CPUs."""
    from tests.process.semantics.support import started_drivers

    yield
    while started_drivers:
        driver = started_drivers.pop()
        driver.kill()
        driver.communicate()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A closed door; opened when the test ends, so that no task is left waiting."""
    from tests.process.semantics.support import Gate

    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture
def started(tmp_path: Path) -> Gate:
    """A second door, for a task to say that it runs."""
    from tests.process.semantics.support import Gate

    return Gate(tmp_path / "started")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    from tests.process.semantics.support import Ledger

    return Ledger(tmp_path / "ledger")
