"""The gateway's numbers for Prometheus, read when somebody asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from manta.gateway.sessions import Sessions
from manta.metrics import text
from manta.metrics.histogram import Histogram
from manta.metrics.processes import Components

if TYPE_CHECKING:
    from prometheus_client import Metric

    from manta.transport.accepted import Accepted


class Counts:
    """What happened on the drivers' connections."""

    def __init__(self) -> None:
        #: Connections that there are now, and those that were let in, by "open" or "resume".
        self.connections = 0
        self.let_in = {"open": 0, "resume": 0}
        #: Those that were not, by the error's code.
        self.refused: dict[str, int] = {}
        #: From the call to the gateway's first answer, refusals included.
        self.seconds = Histogram()
        self.messages = {"in": 0, "out": 0}
        self.bytes = {"in": 0, "out": 0}


class GatewayMetrics:
    """Everything a gateway tells Prometheus. What sessions keep for their drivers is in their own processes and not told."""

    def __init__(self, sessions: Sessions, counts: Counts, accepted: Accepted) -> None:
        self._sessions = sessions
        self._counts = counts
        self._accepted = accepted
        self._components = Components()

    def text(self) -> bytes:
        """The text of /metrics."""
        return text.render(self.families)

    def families(self) -> Iterator[Metric]:
        """Each family once. No label holds what a driver says."""
        counts, sessions = self._counts, self._sessions
        there: dict[text.Labels, float] = {"connected": sessions.connected, "alone": len(sessions) - sessions.connected}
        doc = "Drivers' sessions: with a connection, and alone within their grace."
        yield text.gauge("manta_gateway_sessions", doc, ("state",), there)
        now: dict[text.Labels, float] = {(): counts.connections}
        yield text.gauge("manta_gateway_connections", "Drivers' connections now.", (), now)
        let_in: dict[str, float] = dict(counts.let_in)
        yield text.counter(
            "manta_gateway_connections_let_in", "Connections let in, by what they began.", ("as",), let_in
        )
        refused: dict[str, float] = dict(counts.refused)
        yield text.counter("manta_gateway_refusals", "Connections refused after TLS, by error.", ("code",), refused)
        doc = "Connections without a credential that made room for others."
        dismissed: dict[text.Labels, float] = {(): self._accepted.dismissed}
        yield text.counter("manta_grpc_strangers_dismissed", doc, (), dismissed)
        doc = "From a driver's call of Connect to the first answer."
        yield text.histogram("manta_grpc_seconds", doc, ("method",), {"Connect": counts.seconds})
        label = ("direction",)
        messages: dict[str, float] = dict(counts.messages)
        yield text.counter("manta_gateway_messages", "Messages from and to drivers.", label, messages)
        sizes: dict[str, float] = dict(counts.bytes)
        yield text.counter("manta_gateway_bytes", "Bytes of those messages.", label, sizes)
        unread: dict[text.Labels, float] = {(): sessions.backlog}
        yield text.gauge("manta_gateway_unread_bytes", "What session processes have not read.", (), unread)
        _, usage = self._components.look({"gateway": (os.getpid(),)})["gateway"]
        label = ("component",)
        yield text.counter("manta_process_cpu_seconds", "CPU time of the process.", label, {"gateway": usage.cpu_s})
        resident: dict[text.Labels, float] = {"gateway": usage.resident_bytes}
        yield text.gauge("manta_process_resident_bytes", "Its memory.", label, resident)
