"""`manta logs`: the log files of a cluster's nodes, and what is in them."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Final

from manta.cli import asking
from manta.cli.documents import written
from manta.cli.failures import SilentError
from manta.cli.screen import Screen, harmless, size, wants_color
from manta.client import log_query, state_query
from manta.rpc.v1 import state_pb2 as pb

#: Between two looks at a log that is followed, seconds.
INTERVAL_S: Final = 0.5
_LINES: Final = 1000

_EXAMPLES: Final = """\
examples:
  manta logs                                  which files there are, on all nodes
  manta logs 'worker-*.err' --node 4f1c...    those of one node whose names match
  manta logs raylet-4f1c09aa.log              the end of one
  manta logs --actor 1f0c... -f               what an actor prints, as it prints it
  manta logs --pid 4711 --err --tail -1       all that a worker wrote to standard error

Files stay when their processes are gone. Exit code 1 means that there is no such log, or that its node does not answer."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    logs = commands.add_parser(
        "logs",
        help="log files of nodes, and what is in them",
        description="List log files of nodes, or print one.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    logs.add_argument("name", nargs="?", default="", help="a file's name, or a pattern to list by")
    logs.add_argument("--node", metavar="ID", default="", help="only there: its id in hex, or the beginning of it")
    which = logs.add_mutually_exclusive_group()
    which.add_argument("--pid", type=int, default=0, help="a worker, by its process id")
    which.add_argument("--actor", metavar="ID", default="", help="an actor, by its id in hex")
    which.add_argument("--worker", metavar="ID", default="", help="a worker, by its id in hex")
    logs.add_argument("--err", action="store_true", help="of a worker: standard error")
    logs.add_argument("--tail", type=int, default=_LINES, help=f"so many last lines, -1 for all (default: {_LINES})")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what is added, until Ctrl-C")
    logs.add_argument(
        "--address", metavar="ADDRESS", help="a raylet's socket, or manta://HOST:PORT (default: the newest)"
    )
    logs.add_argument(
        "-o", "--output", choices=("table", "json", "yaml"), default="table", help="of the list (default: table)"
    )
    logs.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: on terminals")
    logs.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """List, or print."""
    by_process = bool(flags.pid or flags.actor or flags.worker)
    if by_process and flags.name:
        print("manta logs: a file's name, or a process: not both", file=sys.stderr)
        return 2
    name = log_query.LogName("" if by_process else flags.name, flags.worker, flags.pid, flags.actor, stderr=flags.err)
    try:
        name.query()
    except ValueError:
        print("manta logs: ids are written in hex, as `manta list` shows them", file=sys.stderr)
        return 2
    with asking.control_of(flags.address, "logs") as control:
        nodes = _nodes(control, flags.node) if flags.node else []
        if not by_process and (not flags.name or any(letter in flags.name for letter in "*?[")):
            return _list(control, nodes, flags)
        return _print(control, nodes, name, flags)


def _nodes(control: asking.Control, begin: str) -> list[bytes]:
    rows = state_query.list_all(control, "nodes", asking.NODES_S).rows
    found = [row["node_id"] for row in rows if row["node_id"].startswith(begin.lower())]
    if len(found) != 1:
        several = "none" if not found else f"{len(found)}"
        raise SilentError(f"{several} of the nodes begins with {harmless(begin, 60)!r}: see `manta list nodes`")
    return [bytes.fromhex(found[0])]


def _list(control: asking.Control, nodes: list[bytes], flags: argparse.Namespace) -> int:
    told, failed = log_query.listed(control, nodes, flags.name, asking.NODES_S)
    rows = [
        {"node_id": node, "name": file.name, "size": file.size, "changed_ms": file.changed_ms}
        for node, answer in told
        for file in answer.files
    ]
    if flags.output != "table":
        sys.stdout.write(written(rows, flags.output))
    else:
        screen = Screen(color=wants_color(flags.color))
        lines = [tuple(screen.paint("bold", title) for title in ("NODE", "SIZE", "CHANGED", "NAME"))]
        lines += [(node[:8], size(file.size), _when(file), harmless(file.name)) for node, a in told for file in a.files]
        screen.table(lines, indent="")
        sys.stdout.write(screen.text())
    for node, error in failed.items():
        print(f"manta logs: node {node}: {harmless(str(error))}", file=sys.stderr)
    untold = sum(answer.untold for _, answer in told)
    if untold:
        print(f"manta logs: {untold} more are not shown: name them by a pattern", file=sys.stderr)
    return 0 if told else 1


def _when(file: pb.LogFile) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(file.changed_ms / 1000))


def _print(control: asking.Control, nodes: list[bytes], name: log_query.LogName, flags: argparse.Namespace) -> int:
    node, answer = log_query.found(control, name, nodes, lines=max(0, flags.tail), timeout_s=asking.NODES_S)
    while True:
        if answer.data:
            sys.stdout.buffer.write(answer.data)
            sys.stdout.buffer.flush()
        elif flags.follow:
            time.sleep(INTERVAL_S)
        else:
            return 0
        answer = log_query.after(control, node, answer, asking.NODES_S)
