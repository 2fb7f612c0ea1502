"""The `manta` program: from arguments to a command, and from what went wrong to an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from manta.cli import listing, stack, status, stop
from manta.cli.clusters import NoClusterError
from manta.cli.tool import SilentError
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

_EPILOG: Final = """\
exit codes: 0 done, 1 something did not answer or could not be done, 2 wrong arguments, 3 no cluster.
`manta COMMAND --help` shows examples."""


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    program = argparse.ArgumentParser(
        prog="manta",
        description="Look at a Manta cluster, and end one that hangs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    program.add_argument("--version", action="version", version=f"manta {__version__}")
    commands = program.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (status, listing, stack, stop):
        command.add(commands)
    return program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; None takes the process's own.
    Returns:
        The exit code.
    """
    flags = parser().parse_args(arguments)
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
