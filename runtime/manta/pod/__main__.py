"""`python -m manta.pod ROLE`: PID 1 of a container. Ends with its server's exit code; 2 if it was told nonsense."""

from __future__ import annotations

import sys

from manta.core.errors import MantaError
from manta.pod.first import leave
from manta.pod.places import Places
from manta.pod.settings import Role

#: Exit status when a variable or the Secret is not what it has to be: starting again does not help.
EXIT_WRONG = 2


def parse(arguments: list[str] | None = None) -> tuple[Role, Places]:
    """Read the command line."""
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) == 1 and words[0] in list(Role):
        return Role(words[0]), Places()
    import argparse  # late: in a pod there is nothing more to read

    usual = Places()
    parser = argparse.ArgumentParser(
        prog="python -m manta.pod", description="PID 1 of a container of a pod; its settings are MANTA_ variables."
    )
    parser.add_argument("role", type=Role, choices=list(Role), metavar="{control,gateway,dashboard,raylet}")
    parser.add_argument("--secret", default=usual.secret, help=f"where it is mounted (default: {usual.secret})")
    parser.add_argument("--private", default=usual.private, help=f"for its copies (default: {usual.private})")
    parser.add_argument("--run", default=usual.run, help=f"what the containers share (default: {usual.run})")
    parser.add_argument("--state", default=usual.state, help=f"what control keeps (default: {usual.state})")
    parser.add_argument("--tmp", default=usual.tmp, help=f"anything else (default: {usual.tmp})")
    flags = parser.parse_args(words)
    return flags.role, Places(flags.secret, flags.private, flags.run, flags.state, flags.tmp)


def main(arguments: list[str] | None = None) -> int:
    """Be the first process until the server ends; its exit status."""
    import os

    from manta.core.capacity import capacity
    from manta.pod import settings
    from manta.pod.container import Container

    role, places = parse(arguments)
    try:
        container = Container(settings.read(role, os.environ, capacity), places)
    except MantaError as wrong:
        leave(" ".join(str(wrong).split()))
        return EXIT_WRONG
    return container.run()


if __name__ == "__main__":
    sys.exit(main())
