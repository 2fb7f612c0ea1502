"""`python -m manta.compat [-m module | -c code | script] args...`: run a Ray program on Manta."""

import sys
from os.path import exists

from manta.compat.alias import install
from manta.compat.run import run_code, run_module, run_script

USAGE = """usage: python -m manta.compat script.py [args...]
       python -m manta.compat -m module [args...]
       python -m manta.compat -c code [args...]

Runs a program written for Ray on Manta: 'import ray' gives Manta, here and in the workers.
"""


def main() -> None:
    """Take the command line apart, install the alias, become the program."""
    arguments = sys.argv[1:]
    first, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if first in {"-h", "--help"}:
        sys.stdout.write(USAGE)
        return
    if first in {"-m", "-c"}:
        if not rest:
            sys.exit(f"argument expected for {first}\n{USAGE}")
        install()
        (run_module if first == "-m" else run_code)(rest[0], rest[1:])
    elif first and not first.startswith("-"):
        if not exists(first):
            sys.exit(f"can't open {first!r}: no such file or folder")
        install()
        run_script(first, rest)
    else:
        sys.exit(f"{f'unknown option {first}' if first else 'no program given'}\n{USAGE}")


if __name__ == "__main__":
    main()
