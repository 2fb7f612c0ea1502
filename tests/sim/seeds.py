"""Seeds of simulated histories: some in order, and before them those that failed once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: More by hand: MANTA_TEST_SEEDS=1000.
COUNT = int(os.environ.get("MANTA_TEST_SEEDS", "200"))


class Seeds:
    """Those of one simulation.

    Args:
        name: Of the file beside this one in which failing seeds are kept, each with what was wrong.
    """

    def __init__(self, name: str) -> None:
        self._path = Path(__file__).parent / name
        lines = self._path.read_text().splitlines()
        self._kept = [int(line.split()[0]) for line in lines if line and not line.startswith("#")]

    def all(self) -> list[int]:
        """In the order in which they are tried."""
        return [*self._kept, *(seed for seed in range(COUNT) if seed not in self._kept)]

    @contextmanager
    def keeping(self, seed: int) -> Iterator[None]:
        """What fails in the block is tried first from now on."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            print(f"seed {seed} of {self._path.name}")
            if seed not in self._kept:
                with self._path.open("a") as file:
                    file.write(f"{seed}  {str(error).splitlines()[0] if str(error) else type(error).__name__}\n")
            raise
