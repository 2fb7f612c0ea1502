"""`python -m manta_operator.api [ROOT]`: writes the definitions' files anew below a checkout, this one unless told otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

from manta_operator.api.definitions import ALL, as_yaml, file_of


def main() -> None:
    """Write them, and say where."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    for definition in ALL:
        file = file_of(definition, root)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(as_yaml(definition), encoding="utf-8")
        sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main()
