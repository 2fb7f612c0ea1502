"""`manta drain`: take a node out of service, and wait until it is gone."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from typing import Any, Final

from manta.cli import administration, demand
from manta.cli.asking import Control
from manta.cli.documents import written
from manta.cli.failures import SilentError
from manta.cli.screen import harmless
from manta.rpc.v1 import control_pb2 as ctl

_EXAMPLES: Final = """\
examples:
  manta drain 1f0c2d3e                     by the beginning of its id, see `manta list nodes`; or by its name
  manta drain worker-3 --grace 10m --reason "new kernel"
  manta drain worker-3 --no-wait           begin; `manta drain worker-3` again waits for it
  manta drain worker-3 -o json
  manta drain demo-workers-3 --address k8s://NAMESPACE/demo    by the Secret demo-admin; the operator replaces its pod

The node gets no new work; tasks and calls that run may end within the grace, actors that may restart move, and then it leaves.
What runs longer is killed, as if the node were lost. Objects move to nodes that have room; those that have nowhere to go, or
belong to a process of this very node, hold it until they are freed, or go with it when the grace is over. Exit code 1 means
that it cannot be drained, or was given up before it was empty."""
_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_S: Final = 24 * 3600.0
_PERIOD_S: Final = 0.2
#: The node may be gone so long after its grace, seconds.
_SLACK_S: Final = 15.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "drain",
        help="take a node out of service without losing work",
        description="Take a node out of service: no new work, what runs ends or moves, then the node leaves.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("node", metavar="NODE", help="its name, or its id in hex or the beginning of it")
    parser.add_argument(
        "--grace", type=grace, default=60.0, metavar="TIME", help="for what runs: 90s, 10m (default: 60s)"
    )
    parser.add_argument("--reason", default="manta drain", help="for people")
    parser.add_argument("--no-wait", action="store_true", help="begin, and do not wait for the end")
    parser.add_argument(
        "--address", metavar="ADDRESS", help="a raylet's socket (default: the newest cluster), or k8s://NAMESPACE/NAME"
    )
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")
    parser.set_defaults(run=run)


def grace(text: str) -> float:
    """Seconds from a text like 90, 90s or 10m.

    Raises:
        ArgumentTypeError: It is none, or longer than a day.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|)", text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else -1.0
    if not 0 <= seconds <= _MOST_S:
        raise argparse.ArgumentTypeError(f"a grace is like 90s, 10m or 2h, a day at most, not {text!r:.40}")
    return seconds


def chosen(nodes: ctl.ListNodesResponse, wanted: str) -> ctl.NodeInfo:
    """The node that is meant: by name, or by the beginning of its id.

    Raises:
        SilentError: None is, or several are.
    """
    living = [node for node in nodes.nodes if node.state != ctl.NODE_STATE_DEAD]
    for candidates in (living, list(nodes.nodes)):
        found = [node for node in candidates if node.name == wanted]
        found = found or [node for node in candidates if wanted and node.node_id.hex().startswith(wanted.lower())]
        if len(found) == 1:
            return found[0]
        if found:
            break
    many = "no node" if not found else f"{len(found)} nodes"
    has = "has" if len(found) < 2 else "have"
    raise SilentError(f"{many} {has} the name or beginning of an id {harmless(wanted, 60)!r}: see `manta list nodes`")


def run(flags: argparse.Namespace) -> int:
    """Drain, wait, say what became of it."""
    with administration.administrator_of(flags.address, "drain") as control:
        node = chosen(control("ListNodes", ctl.ListNodesRequest(), ctl.ListNodesResponse), flags.node)
        end = time.monotonic() + flags.grace + _SLACK_S
        told = ""
        while True:
            reply = _ask(control, node.node_id, flags)
            over = reply.drain.state == ctl.DRAIN_STATE_DRAINED
            if flags.output == "text" and not over:
                text = demand.what_holds(demand.holds(reply.holds))
                if text != told:
                    told = text
                    print(f"{node.node_id.hex()[:8]} is being drained; {text}", flush=True)
            if over or flags.no_wait or time.monotonic() > end:
                break
            time.sleep(_PERIOD_S)
        left = control("ListNodes", ctl.ListNodesRequest(), ctl.ListNodesResponse)
    death = next((each.death_reason for each in left.nodes if each.node_id == node.node_id), "")
    facts = _facts(node, reply, death)
    if flags.output != "text":
        sys.stdout.write(written(facts, flags.output))
    elif over:
        print(f"{node.node_id.hex()[:8]} is drained and gone: {harmless(death, 400)}")
    emptied = over and "ran out" not in death
    return 0 if emptied or (flags.no_wait and not over) else 1


def _ask(control: Control, node_id: bytes, flags: argparse.Namespace) -> ctl.DrainNodeResponse:
    request = ctl.DrainNodeRequest(
        request_id=os.urandom(16), node_id=node_id, grace_ms=round(flags.grace * 1000), reason=flags.reason
    )
    reply: ctl.DrainNodeResponse = control("DrainNode", request, ctl.DrainNodeResponse)
    return reply


def _facts(node: ctl.NodeInfo, reply: ctl.DrainNodeResponse, death: str) -> dict[str, Any]:
    return {
        "node_id": node.node_id.hex(),
        "name": node.name,
        "state": ctl.DrainState.Name(reply.drain.state).removeprefix("DRAIN_STATE_"),
        "reason": reply.drain.reason,
        "grace_s": reply.drain.grace_ms / 1000,
        "deadline_unix_ms": reply.drain.deadline_unix_ms,
        "holds": demand.holds(reply.holds),
        "end": death or None,
    }
