"""The dashboard's numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from manta.dashboard.connections import Connections
from manta.dashboard.http import Application
from manta.metrics import text

if TYPE_CHECKING:
    from prometheus_client import Metric


def numbers(app: Application, connections: Connections) -> Callable[[], bytes]:
    """Makes the text of /metrics."""

    def families() -> Iterator[Metric]:
        here: dict[text.Labels, float] = {(): float(len(connections))}
        yield text.gauge("manta_dashboard_connections", "TCP connections open now.", (), here)
        by_status: dict[text.Labels, float] = {status: float(count) for status, count in app.answered.items()}
        yield text.counter("manta_dashboard_requests", "Requests answered, by status.", ("status",), by_status)

    return lambda: text.render(families)
