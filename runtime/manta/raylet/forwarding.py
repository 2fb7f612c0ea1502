"""What workers print goes to their job's driver: here, or by the raylet of its node.

Nothing waits for a reader: a driver or a node that takes nothing for a while is sent nothing, and its lines stay in their files
until it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from manta.raylet.clients import Clients, Job
from manta.raylet.neighbours import Neighbours
from manta.rpc.v1 import channel_pb2 as pb

#: Bytes that one receiver may leave unread before it is sent no more lines.
_MAX_UNSENT: Final = 4 << 20


class Forwarding:
    """See the module.

    Args:
        clients: The processes of this node.
        jobs: Jobs known here.
        neighbours: The other nodes; it gives what they send to `from_afar`.
        lives: Whether the node is there, as far as this one knows.
    """

    def __init__(
        self, *, clients: Clients, jobs: Mapping[bytes, Job], neighbours: Neighbours, lives: Callable[[bytes], bool]
    ) -> None:
        self._clients, self._jobs, self._neighbours, self._lives = clients, jobs, neighbours, lives
        neighbours.on_lines = self.from_afar

    def takes(self, job_id: bytes) -> bool:
        """Whether somebody takes a job's lines now."""
        job = self._jobs.get(job_id)
        if job is None or not job.log_to_driver:
            return False
        driver = self._clients.driver_of(job_id)
        if driver is not None:
            return driver.connection.unsent_bytes < _MAX_UNSENT
        node_id = self._elsewhere(job)
        return bool(node_id) and self._neighbours.takes(node_id, _MAX_UNSENT)

    def send(self, job_id: bytes, lines: pb.LogLines) -> None:
        """Send lines to the job's driver, wherever it is."""
        driver = self._clients.driver_of(job_id)
        if driver is not None:
            driver.connection.send(lines)
            return
        job = self._jobs.get(job_id)
        node_id = self._elsewhere(job) if job is not None else b""
        if node_id:
            self._neighbours.lines(node_id, job_id, lines)

    def from_afar(self, job_id: bytes, lines: pb.LogLines) -> None:
        """Another node has lines for a driver of this one. One that does not read loses them here; they stay in their files."""
        driver = self._clients.driver_of(job_id)
        if driver is not None and driver.connection.unsent_bytes < _MAX_UNSENT:
            driver.connection.send(lines)

    def _elsewhere(self, job: Job) -> bytes:
        """The other node that its driver is on; empty when it is not known to live."""
        node_id = job.driver.node_id if job.driver is not None and not job.local else b""
        return node_id if node_id and self._lives(node_id) else b""
