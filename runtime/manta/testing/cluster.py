"""A cluster of several nodes on one machine, for tests: real processes that know each other by the network alone.

    with manta.testing.Cluster(head_node_args={"num_cpus": 2}) as cluster:
        node = cluster.add_node(num_cpus=1, resources={"disk": 1})
        cluster.connect()
        ...
        cluster.remove_node(node, allow_graceful=False)

Each node has a raylet, workers, an object store and a port of its own, and nodes speak TLS with each other as on machines of
their own. The first node is the head: control runs beside it. Everything ends with the block, and with the process that made it.
`ray.cluster_utils` is this module under the alias.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from manta.api import embedded
from manta.core.errors import UnsupportedPlatformError
from manta.core.options.init import init_options
from manta.rpc.v1 import channel_pb2 as pb
from manta.testing.processes import Processes
from manta.transport import credentials
from manta.transport.channel import PROTOCOL, Connection

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

    from manta.api.context import RayContext

#: What a node has unless it is said otherwise.
CPUS: Final = 1
STORE_BYTES: Final = 150 << 20

#: Longest wait for a node's answer, seconds.
_ANSWER_S: Final = 10.0


class ClusterNode:
    """One node of a `Cluster`.

    Attributes:
        node_id: In hex, as `manta.nodes()` shows it.
        pid: Of its raylet.
        address: "host:port" where other nodes dial it.
        socket: Of its raylet; `manta.init(f"unix:{node.socket}")` makes a process a driver on this very node.
        session_dir: Its folder, with its logs.
        head: Whether control runs beside it.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], about: Mapping[str, Any], session_dir: str, head: bool
    ) -> None:
        self.process = process
        self.node_id: str = about["node_id"]
        self.pid: int = process.pid
        self.address: str = about["door"]
        self.socket: str = about["channel"]
        self.session_dir = session_dir
        self.head = head

    def __repr__(self) -> str:
        return f"ClusterNode({self.node_id[:8]}, pid={self.pid}{', head' if self.head else ''})"

    def is_running(self) -> bool:
        """Whether its raylet's process is there."""
        return self.process.poll() is None

    def status(self) -> dict[str, Any]:
        """What the node's raylet says of itself: clients, store, scheduler.

        Raises:
            OSError: It does not listen any more.
        """
        with contextlib.closing(Connection.dial(self.socket)) as connection:
            connection.settimeout(_ANSWER_S)
            hello = pb.Hello(protocol=PROTOCOL, role=pb.ROLE_TOOL, worker_id=os.urandom(28), pid=os.getpid())
            connection.send_first([hello])
            connection.read_frame()
            connection.send(pb.StatusRequest(request_id=1))
            _, reply, _ = connection.read_frame()
            status: dict[str, Any] = json.loads(reply.json)
            return status


class Cluster:
    """A cluster under test.

    Args:
        initialize_head: Start the head at once. Without it, and without `head_node_args`, the first `add_node` is the head.
        connect: Make this process a driver of it, too.
        head_node_args: What the head is to have, as `add_node` takes it.
        shutdown_at_exit: End it with the interpreter, if nobody has before.
        gateway: Start a gateway beside the head, for drivers outside: `gateway_address`, `gateway_environment`.

    Raises:
        UnsupportedPlatformError: This is not Linux.
        RuntimeError: `connect` without a head.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: Mapping[str, Any] | None = None,
        shutdown_at_exit: bool = True,
        *,
        gateway: bool = False,
    ) -> None:
        if sys.platform != "linux":
            raise UnsupportedPlatformError(sys.platform)
        initialize_head = initialize_head or head_node_args is not None
        if connect and not initialize_head:
            raise RuntimeError("a cluster without a head cannot be connected to: pass initialize_head=True")
        self.head_node: ClusterNode | None = None
        self.worker_nodes: list[ClusterNode] = []
        #: Where drivers outside join it, "manta://host:port"; empty without a gateway.
        self.gateway_address = ""
        self._wants_gateway = gateway
        self._control = ""
        self._count = 0
        self._session: object = None
        self._session_dir = embedded.new_session()
        self._credentials = os.path.join(self._session_dir, "credentials")
        self._processes = Processes(os.path.join(self._session_dir, "logs", "start.log"))
        self._closed = False
        if shutdown_at_exit:
            atexit.register(self.shutdown)
        try:
            if initialize_head:
                self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()
        except BaseException:
            self.shutdown()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()

    @property
    def address(self) -> str:
        """What `manta.init(address=...)` takes, in any process on this machine.

        Raises:
            RuntimeError: There is no head yet.
        """
        if not self._control:
            raise RuntimeError("the cluster has no head yet: add a node first")
        return self._control

    gcs_address = address

    @property
    def gateway_environment(self) -> dict[str, str]:
        """Environment variables with which a program's `manta.init()` joins from outside, through the gateway.

        Raises:
            RuntimeError: The cluster has none.
        """
        if not self.gateway_address:
            raise RuntimeError("the cluster has no gateway: make it with Cluster(gateway=True) and add a head")
        return {
            "MANTA_ADDRESS": self.gateway_address,
            "MANTA_TOKEN_FILE": os.path.join(self._credentials, credentials.DRIVER_TOKEN),
            "MANTA_CA_FILE": os.path.join(self._credentials, credentials.AUTHORITY),
        }

    def list_all_nodes(self) -> list[ClusterNode]:
        """Its nodes, the head first."""
        return [*([self.head_node] if self.head_node is not None else []), *self.worker_nodes]

    # -- nodes come and go

    def add_node(
        self,
        wait: bool = True,
        *,
        num_cpus: float = CPUS,
        num_gpus: float = 0,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        memory: int | None = None,
        object_store_memory: int = STORE_BYTES,
        node_name: str = "",
    ) -> ClusterNode:
        """Start a node; the first one is the head.

        Args:
            wait: Until the head knows it.
            num_cpus: CPUs it lends.
            num_gpus: GPUs it lends.
            resources: Custom resources, name to amount.
            labels: For label selectors.
            memory: Bytes that tasks may ask for.
            object_store_memory: Bytes of its object store.
            node_name: For people.
        Raises:
            ValueError, TypeError: An argument is none that a node can have.
            MantaError: The node could not start; says why.
        """
        if self._closed:
            raise RuntimeError("the cluster was shut down")
        options = init_options(
            {
                "num_cpus": num_cpus, "num_gpus": num_gpus, "resources": dict(resources or {}), "labels": dict(labels or {}),
                "object_store_memory": object_store_memory, "_memory": memory,
            }
        )  # fmt: skip
        flags = [
            "--num-cpus", str(options.num_cpus), "--num-gpus", str(options.num_gpus or 0),
            "--resources", json.dumps({name: amount / 10_000 for name, amount in options.resources.items()}),
            "--labels", json.dumps(dict(options.labels)), "--object-store-memory", str(options.object_store_memory),
        ]  # fmt: skip
        if options.memory is not None:
            flags += ["--memory", str(options.memory)]
        if node_name:
            flags += ["--node-name", node_name]
        if self.head_node is None:
            node = self.head_node = self._start_head(flags)
        else:
            node = self._start_node(flags)
            self.worker_nodes.append(node)
        if wait:
            self.wait_for_nodes()
        return node

    def _start_head(self, flags: list[str]) -> ClusterNode:
        from manta.api.init import allow_many_files

        allow_many_files()
        credentials.make(self._credentials, f"t-{os.urandom(4).hex()}", names=("127.0.0.1", "localhost"))
        socket = os.path.join(self._session_dir, "control.sock")
        control = [
            "manta.control", "--session-dir", self._session_dir, "--socket", socket, "--credentials", self._credentials,
        ]  # fmt: skip
        process, said = self._processes.start([*control, "--listen", "127.0.0.1:0"])
        address: str = json.loads(said)["address"]
        # The head's raylet starts control again should it end: on the very port that the nodes know.
        again = json.dumps([sys.executable, "-P", "-m", *control, "--listen", address])
        node = self._raylet(
            self._session_dir,
            f"unix:{socket}",
            ["--head", "--control-pid", str(process.pid), "--control-command", again, *flags],
        )
        facts = {"raylet": node.socket, "pid": os.getpid(), "node_id": node.node_id, "control": address, "head": True}
        embedded.note(self._session_dir, facts)
        self._control = address
        if self._wants_gateway:
            self._start_gateway(node)
        return node

    def _start_gateway(self, head: ClusterNode) -> None:
        _, said = self._processes.start(
            [
                "manta.gateway", "--session-dir", self._session_dir, "--raylet", head.socket, "--bind", "127.0.0.1:0",
                "--certificate", os.path.join(self._credentials, "gateway.crt"),
                "--key", os.path.join(self._credentials, "gateway.key"),
                "--tokens", os.path.join(self._credentials, credentials.TOKENS),
            ],
            parent=head.pid,
        )  # fmt: skip
        self.gateway_address = f"manta://127.0.0.1:{int(said.split()[0])}"  # the second line is its metrics port

    def _start_node(self, flags: list[str]) -> ClusterNode:
        self._count += 1
        folder = os.path.join(self._session_dir, f"n{self._count}")
        os.makedirs(os.path.join(folder, "logs"), mode=0o700)
        token = os.path.join(self._credentials, credentials.JOIN_TOKEN)
        return self._raylet(folder, self._control, ["--token-file", token, *flags])

    def _raylet(self, folder: str, control: str, flags: list[str]) -> ClusterNode:
        process, said = self._processes.start(
            [
                "manta.raylet", "--session-dir", folder, "--session-name", os.path.basename(self._session_dir),
                "--control", control, "--credentials", self._credentials, "--door", "127.0.0.1:0",
                "--remove-session-dir", *flags,
            ]
        )  # fmt: skip
        return ClusterNode(process, json.loads(said), folder, head="--head" in flags)

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """End a node and wait until its raylet is gone; its workers go with it.

        Args:
            node: One that `add_node` gave.
            allow_graceful: It is asked to end (SIGTERM). Without that it is killed (SIGKILL), as when a machine fails.
        Raises:
            ValueError: It is the head, which the others need, or no node of this cluster any more.
        """
        if node is self.head_node:
            raise ValueError("the head cannot be removed, control runs beside it; shutdown() ends the whole cluster")
        if node not in self.worker_nodes:
            raise ValueError(f"{node!r} is no node of this cluster, or was removed before")
        self._processes.end(node.process, graceful=allow_graceful)
        self.worker_nodes.remove(node)
        shutil.rmtree(node.session_dir, ignore_errors=True)

    def wait_for_nodes(self, timeout: float = 30.0) -> None:
        """Wait until the head knows as many living nodes as this cluster has: those added joined, those removed given up.

        Raises:
            TimeoutError: Not within that many seconds.
            RuntimeError: There is no head yet.
        """
        head = self.head_node
        if head is None:
            raise RuntimeError("the cluster has no head yet: add a node first")
        deadline = time.monotonic() + timeout
        wanted = 1 + len(self.worker_nodes)
        while True:
            status = head.status()
            found = status["registered"] + status["store"]["neighbours"]
            if found == wanted:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout:g} s the head knows {found} living nodes, not {wanted}")
            time.sleep(0.01)

    # -- this process

    def connect(self, namespace: str | None = None, **arguments: Any) -> RayContext:
        """Make this process a driver on the head; `shutdown` disconnects it.

        Args:
            namespace: Of named actors.
            arguments: What else `manta.init` takes.
        """
        from manta.api.init import init
        from manta.client import current

        context = init(self.address, namespace=namespace, **arguments)
        self._session = current.session
        return context

    def shutdown(self) -> None:
        """Disconnect this process if `connect` has connected it, and end every process. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.shutdown)
        from manta.api.init import shutdown
        from manta.client import current

        try:
            if self._session is not None and current.session is self._session:
                shutdown()
        finally:
            self._processes.close()
            shutil.rmtree(self._session_dir, ignore_errors=True)
            self.head_node, self.worker_nodes = None, []
