"""Who is connected to the raylet: drivers, workers, tools; and the jobs they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.message import Message

from manta.raylet.workers.process import Watch
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.transport.channel_aio import AsyncConnection


@dataclass(slots=True, eq=False)
class Client:
    """One process on the channel, from its Hello on."""

    connection: AsyncConnection
    role: pb.Role
    worker_id: bytes
    pid: int
    endpoint: str
    job: bytes = b""
    #: Leasers: the node they live on.
    node_id: bytes = b""
    #: A driver that asks control and does nothing else: it has no job.
    looks: bool = False
    #: Admitted: it may send anything.
    welcomed: bool = False
    #: It said Goodbye: True when all went well.
    goodbye: bool | None = None
    #: Its process id as this process sees it, for whoever asks the kernel; 0 for one in another PID namespace or on another node.
    pid_here: int = 0
    #: Drivers: their end, whoever holds their socket.
    watch: Watch | None = None
    #: Actors whose states it wants to hear of.
    actors: set[bytes] = field(default_factory=set)
    #: Relayed calls that have not been answered.
    calls: int = 0
    #: How other nodes dial it: its node's door.
    door: str = ""

    def address(self, node_id: bytes) -> common.Address:
        """Where owners, borrowers and callers reach it."""
        return common.Address(
            node_id=self.node_id or node_id, worker_id=self.worker_id, endpoint=self.endpoint, door=self.door
        )


@dataclass(slots=True)
class Job:
    """One driver's work, as this node knows it."""

    job_id: bytes
    config: bytes = b""
    namespace: str = ""
    driver: common.Address | None = None
    #: Its driver is connected to this very node.
    local: bool = False
    #: Its driver wants to see what its workers print.
    log_to_driver: bool = True


class Clients:
    """Connected processes by id."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Client] = {}

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, worker_id: bytes) -> Client | None:
        """The process with this id."""
        return self._by_id.get(worker_id)

    def add(self, client: Client) -> bool:
        """Note it; False when the id is taken."""
        if client.worker_id in self._by_id:
            return False
        self._by_id[client.worker_id] = client
        return True

    def remove(self, client: Client) -> None:
        """Forget it, unless another one has its id now."""
        if self._by_id.get(client.worker_id) is client:
            del self._by_id[client.worker_id]

    def driver_of(self, job: bytes) -> Client | None:
        """The job's driver, if it is connected here."""
        return next((client for client in self if client.job == job and client.role == pb.ROLE_DRIVER), None)

    def of_job(self, job: bytes) -> list[Client]:
        """Everybody of a job."""
        return [client for client in self if client.job == job]

    def send(self, worker_id: bytes, message: Message) -> bool:
        """Send to a process by id; False when it is not there."""
        client = self._by_id.get(worker_id)
        if client is None:
            return False
        client.connection.send(message)
        return True
