"""Placement groups as resources: a bundle's amounts under names of its own, which only whoever means the bundle asks for.

A bundle of `{"CPU": 2}` is two CPUs less on its node, and `CPU_group_0_<id>: 2` (this bundle's) and `CPU_group_<id>: 2` (any
bundle's) more. So tasks in groups are tasks like others, and nothing that schedules has to know of groups.
"""

from __future__ import annotations

from manta.core.resources import CPU, GPU

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

_MARK: Final = "_group_"
#: What every bundle has much of, and everything in it takes a little: it also keeps those there that need nothing else.
BUNDLE: Final = "bundle"
BUNDLE_AMOUNT: Final = 1000 * 10_000
BUNDLE_SHARE: Final = 10
#: Bundles in one group, and what a name may hold.
MOST_BUNDLES: Final = 10_000


def of_bundle(amounts: Mapping[str, int], group: bytes, index: int) -> dict[str, int]:
    """What a node has more when it has this bundle."""
    return _renamed({**amounts, BUNDLE: BUNDLE_AMOUNT}, group, index)


def in_group(amounts: Mapping[str, int], group: bytes, index: int) -> dict[str, int]:
    """What something asks for that asks for `amounts` in a bundle of the group; -1 for any."""
    return _renamed({**amounts, BUNDLE: BUNDLE_SHARE}, group, index)


def _renamed(amounts: Mapping[str, int], group: bytes, index: int) -> dict[str, int]:
    text = group.hex()
    found = {f"{name}{_MARK}{text}": amount for name, amount in amounts.items()}
    if index >= 0:
        found.update({f"{name}{_MARK}{index}_{text}": amount for name, amount in amounts.items()})
    return found


def group_of(amounts: Mapping[str, int]) -> bytes:
    """The group that something with these amounts is in; empty for none."""
    for name in amounts:
        if name.startswith(BUNDLE + _MARK):
            return bytes.fromhex(name.rpartition("_")[2])
    return b""


def index_in(amounts: Mapping[str, int]) -> int:
    """The bundle that something with these amounts names; -1 for none."""
    for name in amounts:
        if name.startswith(BUNDLE + _MARK) and name.count("_") == 3:
            return int(name.split("_")[2])
    return -1


def is_cpu(name: str) -> bool:
    """Whether a waiting task lends this to others."""
    return name == CPU or name.startswith(CPU + _MARK)


def is_gpu(name: str) -> bool:
    """Whether single devices stand behind this."""
    return name == GPU or name.startswith(GPU + _MARK)


def is_group(name: str) -> bool:
    """Whether this is of a bundle."""
    return _MARK in name
