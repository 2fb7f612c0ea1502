"""One adapter per system, all with the same small face. What a row means is written once per programming model.

Manta and Ray share `ray_api.py` to the letter: the adapter is given the name of a module. A row that runs on Ray and not
on Manta is therefore a hole in the drop-in promise, not in the benchmark.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

from benchmarks.timing import Budget, Sample


@dataclass(frozen=True)
class Lab:
    """What a workload may use.

    Attributes:
        cpus: CPUs the system was started with.
        params: Sizes from rows.toml.
        budget: How long to measure.
        memory: Bytes that driver and system hold now (PSS), object stores left out.
    """

    cpus: int
    params: Mapping[str, Any]
    budget: Budget
    memory: Callable[[], int]


#: The group of rows for which this process is outside of the cluster: systems that have them have `start_outside` too.
OUTSIDE = "gateway"

Workload = Callable[[Lab], Sample]


class System(Protocol):
    """A thing that runs Python elsewhere."""

    def start(self, cpus: int) -> None:
        """Start it on this machine, ready for its first task."""

    def stop(self) -> None:
        """Stop it and everything it started."""

    def workloads(self) -> Mapping[str, Workload]:
        """Row name -> how this system does it. A row that is missing here is not measured on it."""


#: Name -> (adapter module, arguments, module whose presence makes it available, distribution whose version is reported)
_KNOWN: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "manta": ("benchmarks.systems.ray_api", ("manta",), "manta", "manta-executor"),
    "ray": ("benchmarks.systems.ray_api", ("ray",), "ray", "ray"),
    "dask": ("benchmarks.systems.dask_distributed", (), "distributed", "distributed"),
    "pool": ("benchmarks.systems.process_pool", (), "concurrent.futures", ""),
}


def make(name: str) -> System:
    """Build an adapter without importing its system yet: `start` does. `package.module` names an adapter of one's own."""
    module, arguments, _, _ = _KNOWN.get(name, (name, (), "", ""))
    adapter: Callable[..., System] = importlib.import_module(module).Adapter
    return adapter(*arguments)


def version(name: str) -> str | None:
    """The installed version in this interpreter, or None when the system is not there. Imports nothing."""
    _, _, module, distribution = _KNOWN[name]
    try:
        if importlib.util.find_spec(module) is None:
            return None
        return metadata.version(distribution) if distribution else "standard library"
    except ModuleNotFoundError:  # PackageNotFoundError too: on the path, but not as a distribution
        return "working tree" if importlib.util.find_spec(module.partition(".")[0]) else None
