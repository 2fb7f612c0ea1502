"""Starting a node's processes in the background: control and raylet of a head, or the raylet of a machine that joins."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from manta.api import embedded
from manta.api.init import allow_many_files
from manta.cli import processes
from manta.cli.metrics_ports import MetricsPorts
from manta.cli.tool import Tool
from manta.core.errors import ClusterNotFoundError, SettingError, StorageUnwritableError
from manta.rpc.v1.control_pb2 import KvDelRequest, KvDelResponse
from manta.transport import credentials, page_address
from manta.transport.addresses import joined, parse_door
from manta.transport.credentials import JoinFile
from manta.transport.probe import probe
from manta.transport.tls import CLUSTER_FILE, TlsFiles, read_cluster

#: How long processes of a node that could not start may take to end before they are killed, seconds.
_STOP_S: Final = 2.0
#: An address outside of any machine, to ask the kernel from where it would be reached; nothing is sent.
_SOMEWHERE: Final = ("192.0.2.1", 9)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a node is to be.

    Attributes:
        node_ip: Address by which other machines reach it; empty finds it out.
        port: Of control, on a head.
        door_port: Where other nodes dial.
        gateway_port: Head: where drivers outside are let in; None for no gateway.
        dashboard_port: Head: where the HTTP server listens; None for none.
        state_dir: Head: where its memory and credentials are kept; empty for the session's folder.
        metrics: Where health and metrics are.
        flags: For the raylet: resources and the like.
        tied: It ends with this process.
    """

    node_ip: str
    port: int
    door_port: int
    gateway_port: int | None
    dashboard_port: int | None
    state_dir: str
    metrics: MetricsPorts
    flags: tuple[str, ...]
    tied: bool


@dataclass(frozen=True, slots=True)
class Started:
    """A node that runs.

    Attributes:
        session_dir: Its folder.
        raylet: Its raylet's socket.
        node_id: In hex.
        pid: Of its raylet.
        control: "host:port" where machines join.
        door: "host:port" where other nodes dial it.
        join_file: Head: the file that lets machines in; empty on others.
        cluster: The cluster's name in certificates.
        gateway: Head: "manta://host:port" for drivers outside; empty where there is none.
        dashboard: Head: "https://host:port" of the HTTP server; empty where there is none.
        metrics: "http://host:port" of health and metrics, by process.
    """

    session_dir: str
    raylet: str
    node_id: str
    pid: int
    control: str
    door: str
    join_file: str
    cluster: str
    gateway: str = ""
    dashboard: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)


def start_head(plan: Plan) -> Started:
    """Start control and the raylet beside it.

    Raises:
        MantaError: One of them could not start; says why.
    """
    session_dir = embedded.new_session()
    folder = os.path.join(plan.state_dir or session_dir, "credentials")
    node_ip = plan.node_ip or own_address(_SOMEWHERE)
    with _Launch(session_dir, plan) as launch:
        if plan.state_dir:
            os.makedirs(plan.state_dir, mode=0o700, exist_ok=True)
        if not os.path.exists(os.path.join(folder, CLUSTER_FILE)):
            credentials.make(folder, f"c-{os.urandom(4).hex()}", names=(node_ip, socket.gethostname(), "localhost"))
        control_socket = os.path.join(session_dir, "control.sock")
        state = ["--state-dir", plan.state_dir] if plan.state_dir else []
        control = [
            "manta.control",
            "--session-dir",
            session_dir,
            "--socket",
            control_socket,
            "--credentials",
            folder,
            *state,
            *launch.metrics("control", folder, node_ip),
        ]
        # Control first: whether the port and the store are free is what can go wrong.
        pid, said = launch.run([*control, "--listen", _at(plan, plan.port)])
        port = parse_door(json.loads(said)["address"])[1]
        # The raylet starts it again should it end: on the very port that machines know.
        again = json.dumps([sys.executable, "-m", *control, "--listen", _at(plan, port)])
        raylet, about = launch.run_raylet(
            f"unix:{control_socket}", folder, node_ip,
            "--head", "--control-pid", str(pid), "--control-command", again,
        )  # fmt: skip
        address = joined(node_ip, port)
        gateway = launch.run_gateway(about["channel"], folder, node_ip, raylet)
        dashboard = launch.run_dashboard(about["channel"], f"unix:{control_socket}", folder, node_ip, raylet)
        if not dashboard:
            _forget_page(about["channel"])
        started = Started(
            session_dir, about["channel"], about["node_id"], raylet, address, about["door"],
            credentials.write_join_file(folder, address), read_cluster(folder), gateway, dashboard,
            launch.metrics_at,
        )  # fmt: skip
        launch.done(started, head=True)
    return started


def _forget_page(channel: str) -> None:
    """There is no page, whatever a dashboard that was killed with the head before this one has left with control."""
    request = KvDelRequest(request_id=os.urandom(16), namespace=page_address.NAMESPACE, key=page_address.KEY)
    # A disk that is full is no reason not to start; the page's address leads nowhere then.
    with suppress(StorageUnwritableError), Tool(channel) as tool:
        tool.control("KvDel", request, KvDelResponse)


def start_node(plan: Plan, joining: JoinFile) -> Started:
    """Start a raylet that joins a head on another machine.

    Raises:
        ClusterNotFoundError: Nobody is there.
        CertificateError: It is another cluster's.
        MantaError: It was not let in, or could not start; says why.
    """
    session_dir = embedded.new_session()
    folder = os.path.join(session_dir, "credentials")
    with _Launch(session_dir, plan) as launch:
        credentials.unpack(joining, folder)
        files = TlsFiles.of_role(folder, "worker", joining.cluster)
        node_ip = plan.node_ip or own_address(parse_door(joining.control))
        raylet, about = launch.run_raylet(
            joining.control, folder, node_ip,
            "--token-file", os.path.join(folder, credentials.JOIN_TOKEN), "--remove-session-dir",
            # The raylet goes on asking; who starts it wants to hear at once that nobody is there.
            meanwhile=lambda: probe(joining.control, files),
        )  # fmt: skip
        started = Started(
            session_dir, about["channel"], about["node_id"], raylet, joining.control, about["door"], "", joining.cluster,
            metrics=launch.metrics_at,
        )  # fmt: skip
        launch.done(started, head=False)
    return started


def own_address(towards: tuple[str, int]) -> str:
    """This machine's address as seen from there; loopback's if there is no network."""
    with suppress(OSError):
        family, kind, proto, _, address = socket.getaddrinfo(*towards, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as sock:
            sock.connect(address)
            found: str = sock.getsockname()[0]
            return found
    return "127.0.0.1"


def _at(plan: Plan, port: int) -> str:
    # All addresses, unless one was named: whoever dials has to show a certificate.
    return joined(plan.node_ip or "0.0.0.0", port)  # noqa: S104


class _Launch:
    """Starts processes of one session; if anything fails in the block, all of them end and the folder goes."""

    def __init__(self, session_dir: str, plan: Plan) -> None:
        self._session_dir, self._plan = session_dir, plan
        allow_many_files()
        self._pids: list[int] = []
        #: Where health and metrics are, by process.
        self.metrics_at: dict[str, str] = {}
        self._output = open(os.path.join(session_dir, "logs", "start.log"), "a+b")  # noqa: SIM115 - the block's

    def __enter__(self) -> _Launch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        self._output.close()
        if kind is not None:
            from manta.cli.stop import stop

            stop(self._session_dir, grace_s=_STOP_S)

    def run_raylet(
        self, control: str, folder: str, node_ip: str, *more: str, meanwhile: Callable[[], None] | None = None
    ) -> tuple[int, dict[str, str]]:
        """Start the raylet; its process id and what it says of itself."""
        plan = self._plan
        pid, said = self.run(
            [
                "manta.raylet",
                "--session-dir",
                self._session_dir,
                "--control",
                control,
                "--credentials",
                folder,
                "--door",
                _at(plan, plan.door_port),
                "--node-ip",
                node_ip,
                *more,
                *self.metrics("raylet", folder, node_ip),
                *plan.flags,
            ],
            meanwhile,
        )
        return pid, json.loads(said)

    def metrics(self, process: str, folder: str, node_ip: str) -> list[str]:
        """Flags that open a process's port for health and metrics; whoever has a viewer's token may look."""
        found = self._plan.metrics.choose(process)
        if found is None:
            return []
        host, port = found
        self.metrics_at[process] = f"http://{joined(node_ip, port)}"
        return [
            "--metrics-host", host, "--metrics-port", str(port), "--metrics-name", socket.gethostname().lower(),
            "--metrics-roles-file", os.path.join(folder, credentials.TOKENS),
        ]  # fmt: skip

    def run_gateway(self, channel: str, folder: str, node_ip: str, raylet: int) -> str:
        """Start the gateway; its address for drivers, or nothing where none is wanted."""
        port = self._plan.gateway_port
        if port is None:
            return ""

        def words(port: int) -> list[str]:
            return [
                "manta.gateway", "--session-dir", self._session_dir, "--raylet", channel, "--bind", _at(self._plan, port),
                "--certificate", os.path.join(folder, "gateway.crt"), "--key", os.path.join(folder, "gateway.key"),
                "--tokens", os.path.join(folder, credentials.TOKENS), *metrics,
            ]  # fmt: skip

        metrics = self.metrics("gateway", folder, node_ip)
        pid, said = self.run(words(port), parent=raylet)
        port = int(said.split()[0])
        self._keep(channel, "gateway", pid, words(port))
        return f"manta://{joined(node_ip, port)}"

    def run_dashboard(self, channel: str, control: str, folder: str, node_ip: str, raylet: int) -> str:
        """Start the HTTP server; its address, or nothing where none is wanted."""
        port = self._plan.dashboard_port
        if port is None:
            return ""

        def words(port: int) -> list[str]:
            return [
                "manta.dashboard", "--session-dir", self._session_dir, "--control", control,
                "--bind", _at(self._plan, port), "--certificate", os.path.join(folder, "dashboard.crt"),
                "--key", os.path.join(folder, "dashboard.key"), "--tokens", os.path.join(folder, credentials.TOKENS),
                "--advertise", node_ip, *metrics,
            ]  # fmt: skip

        metrics = self.metrics("dashboard", folder, node_ip)
        try:
            pid, said = self.run(words(port), parent=raylet)
        except SettingError as wrong:
            if wrong.name != "bind":
                raise
            # The gateway has a setting of the same name.
            raise SettingError("dashboard", wrong.value, wrong.expected) from wrong
        port = int(said)
        self._keep(channel, "dashboard", pid, words(port))
        return f"https://{joined(node_ip, port)}"

    @staticmethod
    def _keep(channel: str, name: str, pid: int, words: Sequence[str]) -> None:
        """From now on the raylet starts it again should it end: at the very port that others know."""
        with Tool(channel) as tool:
            tool.keep(name, pid, [sys.executable, "-m", *words])

    def run(
        self, words: Sequence[str], meanwhile: Callable[[], None] | None = None, *, parent: int = 0
    ) -> tuple[int, str]:
        """Start `python -m words...` and wait until it is ready; its process id and what it said.

        Args:
            words: A module and its arguments.
            meanwhile: Done while it starts; what it raises ends the wait.
            parent: The process it ends with; by default this one where the node is tied to it, else none.

        Raises:
            MantaError: It could not start; says why.
        """
        mine, theirs = os.pipe()
        try:
            parent = parent or (os.getpid() if self._plan.tied else 0)
            tied = ("--parent-pid", str(parent)) if parent else ()
            process = subprocess.Popen(
                [sys.executable, "-m", *words, *tied, "--ready-fd", str(theirs)],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=embedded.child_environment(),
                pass_fds=(theirs,),
                cwd="/",
                start_new_session=True,
            )
            os.close(theirs)
            theirs = -1
            self._pids.append(process.pid)
            if meanwhile is not None:
                meanwhile()
            said = embedded.await_ready({mine: words[0]}, self._output)
        finally:
            os.close(mine)
            if theirs >= 0:
                os.close(theirs)
        # It goes on without us: the interpreter need not say that it still runs.
        process.returncode = 0
        return process.pid, said[words[0]]

    def done(self, started: Started, *, head: bool) -> None:
        """Leave a note for `init(address="auto")` and for the other commands."""
        if not processes.alive(started.pid):
            raise ClusterNotFoundError(started.raylet, "it ended right after it began; its log says why")
        facts = {"raylet": started.raylet, "pid": 0, "node_id": started.node_id, "control": started.control}
        if started.dashboard:
            tokens = os.path.join(os.path.dirname(started.join_file), credentials.TOKENS)
            facts |= {"dashboard": started.dashboard, "tokens": tokens}
        facts["metrics"] = dict(started.metrics)
        embedded.note(started.session_dir, {**facts, "join_file": started.join_file, "head": head})
