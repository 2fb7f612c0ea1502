"""What `wait` costs without a cluster: refs whose values are there, taken one by one, as the row `wait_1k` does.

    python -m benchmarks.micro.wait

Prints microseconds per call for lists of several lengths: the first ref ready, the middle one, all at once.
"""

from __future__ import annotations

import os
import timeit
from typing import Any

from manta.api.objects import wait
from manta.client import current
from manta.client.refs import make_ref
from manta.client.user import UserSession
from manta.rpc.v1 import channel_pb2 as pb


def best_us(call: Any, number: int = 2_000, repeat: int = 7) -> float:
    """Microseconds of one call, in the best of some rounds."""
    return min(timeit.repeat(call, number=number, repeat=repeat)) / number * 1e6


def main() -> None:
    """Measure and print."""
    session = UserSession(pb.ROLE_DRIVER, os.urandom(28))
    current.session = session
    known = session.values.known
    print(f"{'refs':>6} {'first':>8} {'middle':>8} {'all':>8}   us per wait")
    for count in (1, 10, 100, 500, 1_000):
        refs = [make_ref(os.urandom(28)) for _ in range(count)]
        figures = []
        for ready in (refs[:1], refs[count // 2 : count // 2 + 1], refs):
            known.clear()
            known.update((ref._id, b"") for ref in ready)
            figures.append(best_us(lambda ready=ready, refs=refs: wait(refs, num_returns=len(ready))))
        print(f"{count:>6} " + " ".join(f"{figure:8.2f}" for figure in figures))
    current.session = None


if __name__ == "__main__":
    main()
