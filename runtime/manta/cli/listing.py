"""`manta list`, `manta get` and `manta summary`: nodes, actors, tasks, objects, jobs, workers, placement groups, as rows."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Final

from manta.cli import asking
from manta.cli.documents import written
from manta.cli.failures import SilentError
from manta.cli.screen import Screen, harmless, wants_color
from manta.client import state_query, state_rows
from manta.client.state_query import Found
from manta.client.state_rows import KINDS, Filter, Row

#: Columns of a table; `-o wide` shows all.
_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "nodes": ("node_id", "node_ip", "is_head_node", "state", "node_name", "resources_total"),
    "actors": ("actor_id", "class_name", "state", "name", "pid", "node_id", "num_restarts"),
    "tasks": ("task_id", "name", "state", "attempt_number", "type", "worker_pid", "error_type"),
    "objects": ("object_id", "object_size", "reference_type", "pid", "readers", "node_id"),
    "jobs": ("job_id", "status", "type", "entrypoint", "message"),
    "workers": ("worker_id", "worker_type", "state", "pid", "ip", "job_id", "runs"),
    "placement-groups": ("placement_group_id", "name", "state", "strategy", "creator_job_id", "waiting_reason"),
}
_LIMIT: Final = 100
_MOST: Final = 10_000
_FILTER: Final = re.compile(r"(\w+)(!?=)(.*)", re.DOTALL)

_EXAMPLES: Final = """\
examples:
  manta list nodes                                the newest cluster of yours on this machine
  manta list tasks --filter state=FAILED          with their errors: add -o wide
  manta list tasks --filter name!=train -o json | jq '.[].task_id'
  manta list actors --limit 1000 --address manta://HOST:7620

All nodes are asked; one that does not answer is named, and the others' rows are shown. Filters are without regard to case, and
all must hold."""
_SUMMARY_EXAMPLES: Final = """\
examples:
  manta summary tasks               how many of each name are in which state
  manta summary objects -o json"""
_GET_EXAMPLES: Final = """\
examples:
  manta get actors 1f0c...            everything about one actor, by its id or the beginning of it
  manta get tasks 8a3e... -o json

Exit code 1 means that there is none such, or several that begin like that."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands' arguments."""
    listing = commands.add_parser(
        "list",
        help="nodes, actors, tasks, objects, jobs, workers or placement groups",
        description="List what a cluster has.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listing.add_argument("kind", choices=tuple(KINDS), help="what to list")
    listing.add_argument(
        "--filter", action="append", default=[], metavar="COLUMN=VALUE", type=_filter, help="or !=; may be repeated"
    )
    listing.add_argument("--limit", type=_limit, default=_LIMIT, help=f"rows at most (default: {_LIMIT})")
    _common(listing, ("table", "wide", "json", "yaml"), "table")
    listing.set_defaults(run=run_list)
    get = commands.add_parser(
        "get",
        help="one of them, with all it has",
        description="Show one node, actor, task, object, job, worker or placement group.",
        epilog=_GET_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    get.add_argument("kind", choices=tuple(KINDS), help="what it is")
    get.add_argument("id", help="its id in hex, or the beginning of it")
    _common(get, ("yaml", "json"), "yaml")
    get.set_defaults(run=run_get)
    summary = commands.add_parser(
        "summary",
        help="how many tasks, actors or objects there are",
        description="Count tasks by name and state, actors by class and state, or objects.",
        epilog=_SUMMARY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    summary.add_argument("kind", choices=("tasks", "actors", "objects"), help="what to count")
    _common(summary, ("yaml", "json"), "yaml")
    summary.set_defaults(run=run_summary)


def _common(parser: argparse.ArgumentParser, outputs: Sequence[str], usual: str) -> None:
    parser.add_argument(
        "--address", metavar="ADDRESS", help="a raylet's socket, or manta://HOST:PORT (default: the newest cluster)"
    )
    parser.add_argument("-o", "--output", choices=outputs, default=usual, help=f"default: {usual}")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: on terminals")


def _filter(text: str) -> Filter:
    found = _FILTER.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"a filter is COLUMN=VALUE or COLUMN!=VALUE, not {text!r}")
    return found[1], found[2], found[3]


def _limit(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"a limit is a number from 1 to {_MOST}, not {text!r}")
    return int(text)


def gather(address: str | None, kind: str, command: str) -> Found:
    """All rows of a cluster, and what is to be said about them."""
    with asking.control_of(address, command) as control:
        return state_query.list_all(control, kind, asking.NODES_S)


def _say(command: str, found: Found) -> None:
    for note in (*found.failures, *found.notes):
        print(f"manta {command}: {harmless(note)}", file=sys.stderr)


def run_list(flags: argparse.Namespace) -> int:
    """Ask and print."""
    found = gather(flags.address, flags.kind, "list")
    try:
        rows = state_rows.chosen(found.rows, flags.filter)
    except ValueError as wrong:
        print(f"manta list: {wrong}", file=sys.stderr)
        return 2
    if len(rows) > flags.limit:
        found.notes.append(f"{len(rows)} rows; {flags.limit} are shown (--limit)")
        rows = rows[: flags.limit]
    if flags.output in ("json", "yaml"):
        sys.stdout.write(written(rows, flags.output))
    else:
        sys.stdout.write(_table(flags.kind, rows, wide=flags.output == "wide", color=wants_color(flags.color)))
    _say("list", found)
    return 0


def run_get(flags: argparse.Namespace) -> int:
    """Ask for one and print it."""
    answered = gather(flags.address, flags.kind, "get")
    _say("get", Found(failures=answered.failures))
    column = KINDS[flags.kind]
    found = [row for row in answered.rows if row[column].startswith(flags.id.lower())]
    if len({row[column] for row in found}) != 1:
        begin = "none" if not found else f"{len(found)} of them"
        raise SilentError(
            f"{begin} of the {flags.kind} begins with {harmless(flags.id, 60)!r}: see `manta list {flags.kind}`"
        )
    # Of several attempts of a task the last.
    row = max(found, key=lambda row: row.get("attempt_number") or 0)
    sys.stdout.write(written(row, flags.output))
    return 0


def run_summary(flags: argparse.Namespace) -> int:
    """Ask, count and print."""
    found = gather(flags.address, flags.kind, "summary")
    counts = state_rows.summary(flags.kind, found.rows)["cluster"]
    sys.stdout.write(written(counts, flags.output))
    _say("summary", found)
    return 0


def _table(kind: str, rows: Sequence[Row], *, wide: bool, color: bool) -> str:
    columns = _COLUMNS[kind]
    if wide and rows:
        # Those that say something somewhere.
        columns = tuple(name for name in rows[0] if any(row[name] is not None for row in rows))
    screen = Screen(color=color)
    lines = [tuple(screen.paint("bold", column.upper()) for column in columns)]
    lines += [tuple(_cell(screen, column, row.get(column), wide=wide) for column in columns) for row in rows]
    screen.table(lines, indent="")
    return screen.text()


def _cell(screen: Screen, column: str, value: object, *, wide: bool) -> str:
    if isinstance(value, dict):
        shown = ", ".join(f"{name}={amount}" for name, amount in value.items())
    else:
        shown = "" if value is None else str(value)
    shown = harmless(shown, 200 if wide else 60)
    if column in ("state", "status"):
        return screen.paint({"DEAD": "red", "FAILED": "red"}.get(shown, "green"), shown)
    return shown
