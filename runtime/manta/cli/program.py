"""The `manta` program: from arguments to a command, and from what went wrong to an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

from manta.cli.failures import NoClusterError, SilentError
from manta.core.errors import MantaError
from manta.version import __version__

#: Done.
OK: Final = 0
#: Something did not answer, or could not be done; the message says what.
FAILED: Final = 1
#: Wrong arguments: argparse's own.
USAGE: Final = 2
#: There is no cluster to ask.
NO_CLUSTER: Final = 3
#: Ctrl-C, as shells count it.
INTERRUPTED: Final = 130

#: The module of this package that each is in, in the order of `--help`.
COMMANDS: Final = {
    "start": "start",
    "status": "status",
    "list": "listing",
    "get": "listing",
    "job": "jobs",
    "dashboard": "dashboard",
    "summary": "listing",
    "logs": "logs",
    "drain": "drain",
    "stack": "stack",
    "stop": "stop",
}

_EPILOG: Final = """\
exit codes: 0 done, 1 something did not answer or could not be done, 2 wrong arguments, 3 no cluster.
`manta COMMAND --help` shows examples."""


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """All commands and their arguments.

    Args:
        only: Just this one: the others need not be imported to run it, which takes as long as a node takes to join.
    """
    program = argparse.ArgumentParser(
        prog="manta",
        description="Start a Manta cluster, look at it, and end it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    program.add_argument("--version", action="version", version=f"manta {__version__}")
    commands = program.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in dict.fromkeys(COMMANDS.values()) if only is None else (COMMANDS[only],):
        importlib.import_module(f"manta.cli.{module}").add(commands)
    return program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; None takes the process's own.
    Returns:
        The exit code.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    flags = parser(words[0] if words and words[0] in COMMANDS else None).parse_args(words)
    try:
        code: int = flags.run(flags)
        sys.stdout.flush()
    except NoClusterError as nothing:
        print(nothing, file=sys.stderr)
        return NO_CLUSTER
    except (SilentError, MantaError, OSError) as failure:
        if isinstance(failure, BrokenPipeError):
            # `manta stack | head`: whoever read has seen enough. The interpreter's own flush at exit must not complain either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return OK
        print(f"manta {flags.command}: {failure}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code
