"""`manta stack`: where every worker and the driver stand now, and what their `get` waits for."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from manta.cli import clusters, processes
from manta.cli.documents import written
from manta.cli.frames import Frame, Stack, Whose, parse, shortest
from manta.cli.screen import Screen, harmless, wants_color
from manta.cli.tool import Tool

_EXAMPLES: Final = """\
examples:
  manta stack                 where your code stands, in every process of the newest cluster
  manta stack 4711 4712       only these processes
  manta stack --all           every thread and every frame, Manta's own too
  watch -n 2 manta stack      follow a program that seems stuck

A process that runs C code which holds the interpreter's lock cannot answer; what the kernel knows of it is shown instead."""

#: Of a process whose number means nothing here.
_ELSEWHERE: Final = "it runs in another container, and did not answer"
#: Order of the sections: what started it all, then what is suspicious.
_KINDS: Final = ("driver", "silent", "actor", "worker", "idle")


@dataclass(frozen=True, slots=True)
class Process:
    """One process's answer."""

    pid: int
    title: str
    stacks: tuple[Stack, ...]
    #: It gave no answer; what the kernel says of it.
    silent: str = ""

    @property
    def kind(self) -> str:
        """One of _KINDS."""
        if self.silent:
            return "silent"
        if self.title == "worker idle":
            return "idle"
        first = self.title.partition(" ")[0]
        return first if first in _KINDS else "worker"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "stack",
        help="where every process stands now",
        description="Where every worker and the driver stand now, and what they wait for.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pids", metavar="PID", nargs="*", type=int, help="only these processes")
    parser.add_argument("--address", metavar="unix:PATH", help="a raylet's socket (default: the newest cluster)")
    parser.add_argument("--all", action="store_true", help="every thread and every frame")
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: on terminals")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Ask and print."""
    cluster = clusters.find(flags.address, "stack")
    found = gather(cluster.raylet)
    if flags.pids:
        found = [process for process in found if process.pid in flags.pids]
        missing = sorted(set(flags.pids) - {process.pid for process in found})
        for pid in missing:
            print(f"manta stack: no process of this cluster has pid {pid}", file=sys.stderr)
        if missing and not found:
            return 1
    if flags.output != "text":
        sys.stdout.write(written([_as_json(process) for process in found], flags.output))
    else:
        screen = Screen(color=wants_color(flags.color))
        render(found, screen, everything=flags.all, here=os.getcwd())
        sys.stdout.write(screen.text())
    return 0


def gather(raylet: str) -> list[Process]:
    """Ask every process of a node.

    Raises:
        SilentError: The raylet does not answer.
    """
    found = []
    with Tool(raylet) as tool:
        replies = list(tool.stacks())
    shares = processes.cpu_shares(reply.pid for reply in replies if reply.pid and not reply.stacks)
    for reply in replies:
        silent = ""
        if not reply.stacks:
            silent = processes.glimpse(reply.pid).told(shares.get(reply.pid)) if reply.pid else _ELSEWHERE
        found.append(Process(reply.pid, reply.title, tuple(map(parse, reply.stacks)), silent))
    return sorted(found, key=lambda process: (_KINDS.index(process.kind), process.title, process.pid))


def render(found: Sequence[Process], screen: Screen, *, everything: bool, here: str) -> None:
    """The answers as text.

    Args:
        found: In order.
        screen: Takes the lines.
        everything: Every thread and frame.
        here: Paths below it are shown relative to it.
    """
    names = shortest((frame.path for process in found for stack in process.stacks for frame in stack.frames), here)
    idle = [process for process in found if process.kind == "idle"]
    for process in found:
        if process.kind == "idle" and not everything:
            continue
        screen.heading(harmless(process.title), f"   pid {process.pid}")
        if process.silent:
            screen.line(screen.paint("red", f"  {process.silent}"))
            continue
        shown = [stack for stack in process.stacks if everything or stack.speaks]
        if not shown:
            screen.line(screen.paint("dim", "  none of your code runs"))
        for stack in shown:
            _render_stack(stack, screen, names, everything=everything)
    if idle and not everything:
        many = f"{len(idle)} idle {'worker' if len(idle) == 1 else 'workers'}"
        screen.heading(many, f"   pid {', '.join(str(process.pid) for process in idle)}")


def _render_stack(stack: Stack, screen: Screen, names: dict[str, str], *, everything: bool) -> None:
    screen.line(f"  {screen.paint('cyan', harmless(stack.title))}")
    frames = stack.frames if everything else stack.relevant()
    innermost = next((frame for frame in reversed(frames) if frame.whose is Whose.USER), None)
    for frame in frames:
        where = f"{harmless(names[frame.path], 400)}:{frame.line} in {harmless(frame.function)}"
        lines = [f"    {where}", *(f"        {harmless(line, 400)}" for line in frame.code)]
        style = "bold" if frame is innermost else "" if frame.whose is Whose.USER else "dim"
        for line in lines:
            screen.line(screen.paint(style, line) if style else line)
    if stack.waits_for:
        screen.line(screen.paint("yellow", f"    waits for {harmless(stack.waits_for, 1000)}"))


def _as_json(process: Process) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "title": process.title,
        "kind": process.kind,
        "silent": process.silent or None,
        "stacks": [
            {
                "title": stack.title,
                "waits_for": stack.waits_for or None,
                "frames": list(map(_frame_as_json, stack.frames)),
            }
            for stack in process.stacks
        ],
    }


def _frame_as_json(frame: Frame) -> dict[str, Any]:
    return {
        "path": frame.path,
        "line": frame.line,
        "function": frame.function,
        "code": list(frame.code),
        "whose": frame.whose.value,
    }
