"""Which module adds which routes. A new noun is a new module here; the package's docstring says what one looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from manta.dashboard import about, cluster_status, jobs, nodes, pages, state
from manta.dashboard.context import Context
from manta.dashboard.routes import Routes

MODULES: Final[tuple[Callable[[Routes, Context], None], ...]] = (
    about.add,
    cluster_status.add,
    jobs.add,
    nodes.add,
    state.add,
    pages.add,
)


def compose(context: Context) -> Routes:
    """Every route."""
    routes = Routes()
    for add in MODULES:
        add(routes, context)
    return routes
