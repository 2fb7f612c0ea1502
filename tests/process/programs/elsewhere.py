"""All programs, one after the other, as drivers of the cluster that this process's environment names: how pods run them.

Prints one line of JSON behind MARK, each program's folder to how its driver ended.
"""

from __future__ import annotations

import dataclasses
import json
import os

from tests.process.programs.harness import HERE, Ended, execute

#: What starts a driver on a cluster that is there already.
STARTER = "tests.support.given_cluster"
#: Begins the line of results: a log may have other lines.
MARK = "programs: "
FOLDERS = tuple(sorted(path.parent.name for path in HERE.glob("p*/program.py")))


def results(printed: str) -> dict[str, Ended]:
    """What `main` has said, out of a log."""
    [line] = [line for line in printed.splitlines() if line.startswith(MARK)]
    return {folder: Ended(**fields) for folder, fields in json.loads(line.removeprefix(MARK)).items()}


def main() -> None:
    """Run them."""
    # `execute` leaves these out, as they say where a driver belongs.
    names = {name: text for name, text in os.environ.items() if name.startswith(("MANTA_", "RAY_"))}
    ended = {folder: dataclasses.asdict(execute(folder, STARTER, **names)) for folder in FOLDERS}
    print(f"{MARK}{json.dumps(ended)}", flush=True)


if __name__ == "__main__":
    main()
