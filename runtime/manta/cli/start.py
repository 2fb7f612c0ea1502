"""`manta start`: this machine becomes the head of a new cluster, or a node of one that runs."""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Final

from manta.cli import drain, launching, metrics_ports
from manta.cli.documents import yaml
from manta.cli.stop import GRACE_S, stop
from manta.core.capacity import capacity
from manta.core.errors import MantaError, SettingError, StorageLockedError
from manta.core.options.init import init_options
from manta.transport.addresses import parse_door
from manta.transport.credentials import read_join_file

#: Where control listens, where nodes dial each other and where drivers outside are let in, unless told otherwise.
PORT: Final = 7600
DOOR_PORT: Final = 7610
GATEWAY_PORT: Final = 7620
DASHBOARD_PORT: Final = 8265
METRICS_PORT: Final = metrics_ports.PORT

#: Which flag chooses a port, by the name of the setting that a process complains of.
_PORT_FLAGS: Final = {
    "listen": "--port",
    "door": "--door-port",
    "bind": "--gateway-port",
    "dashboard": "--dashboard-port",
    "metrics_port": "--metrics-port",
}

#: A drain may end so long after its grace, seconds.
_SLACK_S: Final = 5.0

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_EXAMPLES: Final = """\
examples:
  manta start --head                            a new cluster; prints how to join and how to use it
  manta start --join-file join.json             on another machine, with the file that the head wrote
  manta start --address 10.0.0.1:7600 --join-file join.json     the same, by another address
  manta start --head --state-dir /var/lib/manta --block         kept through restarts; for systemd or a container

It runs in the background until `manta stop`, or in the foreground with --block. CPUs and memory are those of the
container or control group, if there is one."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "start",
        help="make this machine the head or a node of a cluster",
        description="Make this machine the head of a new cluster, or a node of one that runs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--head", action="store_true", help="begin a cluster")
    parser.add_argument("--address", metavar="HOST:PORT", help="the head to join (default: as the join file says)")
    parser.add_argument("--join-file", metavar="FILE", help="lets this machine in; written by the head")
    parser.add_argument("--port", type=_port, default=PORT, help=f"control's, on the head (default: {PORT})")
    parser.add_argument(
        "--door-port", type=_port, default=DOOR_PORT, help=f"other nodes dial it (default: {DOOR_PORT})"
    )
    parser.add_argument(
        "--gateway-port",
        type=_port,
        default=GATEWAY_PORT,
        help=f"head: drivers outside dial it (default: {GATEWAY_PORT})",
    )
    parser.add_argument("--no-gateway", action="store_true", help="head: let no drivers in from outside")
    parser.add_argument(
        "--dashboard-port", type=_port, default=DASHBOARD_PORT, help=f"head: HTTP by TLS (default: {DASHBOARD_PORT})"
    )
    parser.add_argument("--no-dashboard", action="store_true", help="head: no HTTP server")
    parser.add_argument(
        "--metrics-port",
        type=_port,
        default=METRICS_PORT,
        help="health and metrics of the raylet; those of control, gateway and dashboard follow; one that is taken is replaced "
        f"by the next free one, 0 takes any (default: {METRICS_PORT})",
    )
    parser.add_argument(
        "--metrics-host", default="", metavar="ADDRESS", help="listen there for it (default: as for the other ports)"
    )
    parser.add_argument("--no-metrics", action="store_true", help="no ports for health and metrics")
    parser.add_argument(
        "--node-ip", default="", metavar="ADDRESS", help="as other machines reach this one; listen there"
    )
    parser.add_argument("--node-name", default="", metavar="NAME", help="for people (default: the address)")
    parser.add_argument("--num-cpus", type=float, help="CPUs to lend (default: those this machine or container has)")
    parser.add_argument("--num-gpus", type=float, help="GPUs to lend (default: those the driver lists)")
    parser.add_argument("--memory", type=_size, metavar="SIZE", help="that tasks may ask for, like 8G (default: 70%%)")
    parser.add_argument("--object-store-memory", type=_size, metavar="SIZE", help="of shared memory (default: 30%%)")
    parser.add_argument("--resources", type=_amounts, default={}, metavar="JSON", help='custom ones, {"name": amount}')
    parser.add_argument("--labels", type=_labels, default={}, metavar="KEY=VALUE,...", help="of this node; or as JSON")
    parser.add_argument(
        "--state-dir", default="", metavar="FOLDER", help="head: keeps its memory and credentials there"
    )
    parser.add_argument(
        "--block",
        action="store_true",
        help="stay in the foreground; SIGTERM or Ctrl-C drains the node, a second ends it",
    )
    parser.add_argument(
        "--drain-grace", type=drain.grace, default=60.0, metavar="TIME",
        help="what SIGTERM leaves to what runs on the node: 90s, 10m (default: 60s)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Start, say what was started, and with --block wait for its end."""
    wrong = _contradiction(flags)
    if wrong:
        print(f"manta start: {wrong}", file=sys.stderr)
        return 2
    try:
        plan = _plan(flags)
    except (ValueError, TypeError) as error:
        print(f"manta start: {error}", file=sys.stderr)
        return 2
    stopping = _Stopping() if flags.block else None
    try:
        if flags.head:
            started = launching.start_head(plan)
        else:
            joining = read_join_file(flags.join_file)
            started = launching.start_node(plan, replace(joining, control=flags.address or joining.control))
    except MantaError as error:
        print(f"manta start: {explain(error)}", file=sys.stderr)
        return 1
    if flags.output != "text":
        # JSON in one line: with --block whoever reads it must know when it has all.
        facts = asdict(started)
        print(json.dumps(facts) if flags.output == "json" else yaml(facts).rstrip(), flush=True)
    else:
        print(announcement(started, block=flags.block), flush=True)
    if stopping is None:
        return 0
    ended = stopping.wait_for(started.pid)
    told = not ended
    if told and not flags.head:
        # The head's node ends the cluster: nobody is left who could drain it.
        ended = _drained(started.pid, flags.drain_grace, stopping)
    # Another tool may have drained it: then it has left in good order, too.
    orderly = told or _exit_status(started.pid) == 0
    done = stop(started.session_dir, grace_s=GRACE_S)
    if done.left:
        print(f"manta start: {done.left}", file=sys.stderr)
    if ended and not told:
        what = "has left its cluster" if orderly else "ended by itself"
        print(f"manta start: the node {what}; its log says why", file=sys.stderr)
    return 1 if not orderly or done.left else 0


def _drained(pid: int, grace_s: float, stopping: _Stopping) -> bool:
    """Have a node drained; False if it was not within its grace, or a second signal came."""
    print(f"manta start: the node is drained within {grace_s:g} s; a second signal ends it at once", file=sys.stderr)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    return stopping.wait_for(pid, grace_s + _SLACK_S)


def _exit_status(pid: int) -> int | None:
    """Of a child that has ended; None where that is not known."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None


def announcement(started: launching.Started, *, block: bool = False) -> str:
    """What people read after a start."""
    logs = os.path.join(started.session_dir, "logs")
    ending = "Ctrl-C" if block else "manta stop"
    if not started.join_file:
        return (
            f"Joined the cluster at {started.control} as node {started.node_id[:8]}, reached by others at {started.door}.\n\n"
            f'  programs here    manta.init(address="auto")\n'
            f"  look             manta status\n"
            f"{_metrics(started)}"
            f"  end              {ending}\n"
            f"  logs             {logs}"
        )
    folder = os.path.dirname(started.join_file)
    host = parse_door(started.control)[0]
    outside = (
        f"  programs elsewhere, with copies of {folder}/ca.crt and driver.token:\n"
        f"      export MANTA_CA_FILE=ca.crt MANTA_TOKEN_FILE=driver.token\n"
        f'      manta.init(address="{started.gateway}")\n'
        if started.gateway
        else ""
    )
    pages = (
        f"  page and jobs, with that authority and a token of {folder}/tokens:\n      {started.dashboard}\n"
        if started.dashboard
        else ""
    )
    alone = (
        ""
        if not host.startswith("127.")
        else (
            "\n\nNo way out of this machine was found, so only it can join: --node-ip says by which address others reach it."
        )
    )
    return (
        f"Cluster {started.cluster} runs. Its address is {started.control}; this node is reached by others at {started.door}.\n\n"
        f"  join, on another machine:\n"
        f"      scp {host}:{started.join_file} .\n"
        f"      manta start --address {started.control} --join-file join.json\n"
        f"  programs, on any of its machines:\n"
        f'      manta.init(address="auto")\n'
        f"{outside}{pages}\n"
        f"  look             manta status{', or in a browser by the link of: manta dashboard' if started.dashboard else ''}\n"
        f"{_metrics(started)}"
        f"  end              {ending}, on each machine\n"
        f"  join token       in {started.join_file}; whoever has that file can run code here\n"
        f"  certificates     {folder}\n"
        f"  logs             {logs}{alone}"
    )


def _metrics(started: launching.Started) -> str:
    if not started.metrics:
        return ""
    where = ", ".join(f"{process} {address}/metrics" for process, address in started.metrics.items())
    return f"  metrics          {where}\n"


def explain(error: MantaError) -> str:
    """What went wrong, with what to do about it where users meet it first."""
    if isinstance(error, SettingError) and error.name in _PORT_FLAGS:
        flag = _PORT_FLAGS[error.name]
        host, _, port = error.value.rpartition(":")
        if "port" in error.expected:
            return (
                f"cannot listen on port {port} of {host}: another process does, perhaps another node on this machine. "
                f"Choose another port with {flag}, or see `manta status` and `manta stop`."
            )
        return f"cannot listen on {host}: it is no address of this machine. Choose one with --node-ip."
    if isinstance(error, StorageLockedError):
        return f"{error}\nA head runs with this --state-dir already: join it, stop it, or choose another folder."
    return str(error)


def _contradiction(flags: argparse.Namespace) -> str:
    if flags.head:
        if flags.address or flags.join_file:
            return "--head begins a new cluster; --address and --join-file join one that runs"
        return ""
    if flags.state_dir:
        return "--state-dir is for a head; a node that joins keeps nothing"
    if not flags.join_file:
        where = f" of {flags.address}" if flags.address else ""
        return (
            f"say --head to begin a cluster, or --join-file FILE to join one: the head{where} wrote that file, and printed "
            "where, when it was started"
        )
    if flags.address:
        try:
            parse_door(flags.address)
        except ValueError:
            return f"--address is HOST:PORT, like 10.0.0.1:{PORT}, not {flags.address!r:.100}"
    return ""


def _plan(flags: argparse.Namespace) -> launching.Plan:
    from manta.api.init import allow_many_files, visible_gpus

    options = init_options(
        {
            "num_cpus": flags.num_cpus,
            "num_gpus": flags.num_gpus if flags.num_gpus is not None else visible_gpus(),
            "resources": flags.resources,
            "labels": flags.labels,
            "object_store_memory": flags.object_store_memory,
            "_memory": flags.memory,
        }
    )
    allow_many_files()
    raylet = [
        "--object-store-memory", str(options.object_store_memory or capacity().store_bytes),
        "--resources", json.dumps({name: amount / 10_000 for name, amount in options.resources.items()}),
        "--labels", json.dumps(dict(options.labels)), "--num-gpus", str(options.num_gpus or 0),
    ]  # fmt: skip
    if options.num_cpus is not None:
        raylet += ["--num-cpus", str(options.num_cpus)]
    if options.memory is not None:
        raylet += ["--memory", str(options.memory)]
    if flags.node_name:
        raylet += ["--node-name", flags.node_name]
    raylet += ["--drain-grace", str(flags.drain_grace)]
    state = os.path.abspath(flags.state_dir) if flags.state_dir else ""
    gateway = None if flags.no_gateway else flags.gateway_port
    dashboard = None if flags.no_dashboard else flags.dashboard_port
    # All addresses, unless one was named: numbers are shown to those who have a token.
    host = flags.metrics_host or flags.node_ip or "0.0.0.0"  # noqa: S104
    metrics = metrics_ports.MetricsPorts(host, None if flags.no_metrics else flags.metrics_port)
    return launching.Plan(
        flags.node_ip, flags.port, flags.door_port, gateway, dashboard, state, metrics, tuple(raylet), flags.block
    )


class _Stopping:
    """SIGTERM and Ctrl-C, heard from before anything is started: whoever sends one finds nothing left."""

    def __init__(self) -> None:
        self._read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)

    def wait_for(self, pid: int, timeout_s: float | None = None) -> bool:
        """Wait for a signal or the end of a process, or until the time is over; whether it was that end."""
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(self._read, select.POLLIN)
        try:
            ready = {fd for fd, _ in poll.poll(None if timeout_s is None else 1000 * timeout_s)}
        finally:
            os.close(process)
        if process in ready:
            return True
        if self._read in ready:
            os.read(self._read, 64)
        return False


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number up to 65535, not {text!r:.40}")
    return int(text)


def _size(text: str) -> int:
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        return int(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError) as wrong:
        raise argparse.ArgumentTypeError(f"a size is bytes, or like 500M or 8GiB, not {text!r:.40}") from wrong


def _amounts(text: str) -> Mapping[str, float]:
    try:
        value = json.loads(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f'is JSON like {{"disk": 1}}, not {text!r:.100}') from wrong
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'is a JSON object like {{"disk": 1}}, not {text!r:.100}')
    return value


def _labels(text: str) -> Mapping[str, str]:
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except ValueError as wrong:
            raise argparse.ArgumentTypeError(f"is KEY=VALUE,... or JSON, not {text!r:.100}") from wrong
        if isinstance(value, dict):
            return value
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(key and equals for key, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"is KEY=VALUE,... or JSON, not {text!r:.100}")
    return {key: value for key, _, value in pairs}
