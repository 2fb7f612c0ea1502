"""Which numbers pods get.

A pod is called `<cluster>-<group>-<n>`, and n is the smallest number that is not taken. So nobody has to store a counter, and two
who decide from the same facts, or from facts of different age, want the same name, which only one of them gets.
"""

from __future__ import annotations

import itertools
from collections.abc import Set as AbstractSet


def free_slots(taken: AbstractSet[int], count: int) -> list[int]:
    """The smallest numbers that are not taken.

    Args:
        taken: By any object of that name, whoever made it, and until it is gone.
        count: How many.
    """
    return list(itertools.islice((slot for slot in itertools.count() if slot not in taken), max(0, count)))


def place_of(pod: str, cluster: str) -> tuple[str, int] | None:
    """Group and slot that a pod's name says; None for a name that is no worker's.

    The name is asked and not the labels: anybody may change those.
    """
    if not pod.startswith(f"{cluster}-"):
        return None
    group, _, slot = pod[len(cluster) + 1 :].rpartition("-")
    if not group or not slot.isascii() or not slot.isdigit() or str(int(slot)) != slot:
        return None
    return group, int(slot)
