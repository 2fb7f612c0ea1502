"""Bundles of placement groups on this node: held back, then opened to those who ask for them, then given back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manta.core.bundles import group_of, index_in, of_bundle
from manta.raylet.scheduling.ledger import Amounts, GpuShares, Ledger
from manta.raylet.scheduling.records import Worker

BundleKey = tuple[bytes, int]


@dataclass(slots=True)
class Bundle:
    """One bundle."""

    amounts: Amounts
    shares: GpuShares
    #: Tasks and actors may use it.
    committed: bool = False


class Bundles:
    """All bundles of the node.

    Args:
        ledger: Where they are taken from.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.by_key: dict[BundleKey, Bundle] = {}
        #: Given back while somebody still held something of them: what they took is free once those are dead.
        self._leaving: dict[BundleKey, Bundle] = {}

    def prepare(self, group: bytes, bundles: Mapping[int, Amounts]) -> bool:
        """Hold back all of these, or none; those that are held already are fine."""
        taken: list[BundleKey] = []
        for index, amounts in bundles.items():
            if (group, index) in self.by_key:
                continue
            if (group, index) in self._leaving or not self._ledger.fits(amounts):
                for key in taken:
                    bundle = self.by_key.pop(key)
                    self._ledger.give_back(bundle.amounts, bundle.shares)
                return False
            self.by_key[group, index] = Bundle(amounts, self._ledger.take(amounts))
            taken.append((group, index))
        return True

    def commit(self, group: bytes, indexes: Iterable[int]) -> None:
        """Open them."""
        for index in indexes:
            bundle = self.by_key.get((group, index))
            if bundle is not None and not bundle.committed:
                bundle.committed = True
                self._ledger.add(of_bundle(bundle.amounts, group, index), bundle.shares)

    def give_back(self, group: bytes, indexes: Iterable[int]) -> None:
        """Close them: nobody gets anything of them any more. What they took is free once nobody holds anything of them."""
        for index in indexes:
            bundle = self.by_key.pop((group, index), None)
            if bundle is None:
                continue
            if bundle.committed:
                self._ledger.remove(of_bundle(bundle.amounts, group, index))
                self._leaving[group, index] = bundle
            else:
                self._ledger.give_back(bundle.amounts, bundle.shares)

    def users(self, workers: Iterable[Worker]) -> list[Worker]:
        """Workers that hold something of a bundle that was given back."""
        leaving = self._leaving
        if not leaving:
            return []
        groups = {group for group, _ in self.by_key}
        gone = {group for group, _ in leaving} - groups
        found = []
        for worker in workers:
            group = group_of(worker.holds)
            if group and (group in gone or (group, index_in(worker.holds)) in leaving):
                found.append(worker)
        return found

    def settle(self, workers: Iterable[Worker]) -> None:
        """Free what bundles took that were given back and of which nobody holds anything any more."""
        if not self._leaving:
            return
        held = {group_of(worker.holds) for worker in self.users(workers)}
        for key in [key for key in self._leaving if key[0] not in held]:
            bundle = self._leaving.pop(key)
            self._ledger.give_back(bundle.amounts, bundle.shares)

    def held(self) -> dict[bytes, list[int]]:
        """What is held back or open, for a registration."""
        found: dict[bytes, list[int]] = {}
        for group, index in self.by_key:
            found.setdefault(group, []).append(index)
        return found

    def taken(self) -> list[Bundle]:
        """Everything that bundles have taken, for checks."""
        return [*self.by_key.values(), *self._leaving.values()]

    def opened(self) -> list[Amounts]:
        """Everything that the node has more because of them, for checks."""
        return [of_bundle(bundle.amounts, *key) for key, bundle in self.by_key.items() if bundle.committed]
