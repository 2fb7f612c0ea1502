"""A node's resources: what there is, what is taken, which GPUs are whose. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manta.core import resources
from manta.core.bundles import is_gpu
from manta.core.resources import CPU, GPU, UNIT, Devices

#: Amounts of named resources in 1/10000ths; absent means none.
Amounts = Mapping[str, int]

#: Shares of single GPUs: (name, amount).
GpuShares = tuple[tuple[str, int], ...]


class Ledger:
    """Who could take what. Knows nothing of leases or workers; every amount given out is handed back by its taker.

    Args:
        total: What the node has.
        gpu_ids: Names of its GPUs, as CUDA_VISIBLE_DEVICES would name them; default "0", "1", ...
    """

    __slots__ = ("_bundle_gpus", "_gpus", "available", "gpu_ids", "total", "version")

    def __init__(self, total: Amounts, gpu_ids: Sequence[str] | None = None) -> None:
        #: What the node has.
        self.total: dict[str, int] = dict(total)
        #: What nobody has taken. CPU may fall below zero: a task that wakes up takes its CPU back at once.
        self.available: dict[str, int] = dict(total)
        #: Grows when what the node has changes.
        self.version = 0
        count = self.total.get(GPU, 0) // UNIT
        #: Name of each GPU.
        self.gpu_ids: tuple[str, ...] = tuple(gpu_ids) if gpu_ids is not None else tuple(str(i) for i in range(count))
        if len(self.gpu_ids) != count:
            raise ValueError(f"{count} GPUs need {count} names, got {len(self.gpu_ids)}: {', '.join(self.gpu_ids)}")
        self._gpus = Devices(self.gpu_ids)
        #: GPUs of bundles, by the name under which they are asked for.
        self._bundle_gpus: dict[str, list[Devices]] = {}

    def feasible(self, amounts: Amounts) -> bool:
        """Whether an empty node could give this."""
        gpus = amounts.get(GPU, 0)
        return resources.fits(self.total, amounts) and (gpus <= UNIT or gpus % UNIT == 0)

    def fits(self, amounts: Amounts) -> bool:
        """Whether it can be taken now."""
        available = self.available
        # Not `resources.fits`: whoever needs no CPU may start while CPUs are over-committed.
        for name, amount in amounts.items():
            if amount > 0 and amount > available.get(name, 0):
                return False
        gpus = amounts.get(GPU, 0)
        if not gpus:
            return True
        shares = self._gpus.take(gpus)
        if shares is None:
            return False
        self._gpus.give_back(shares)
        return True

    def take(self, amounts: Amounts) -> GpuShares:
        """Take what fits; the shares of GPUs that came with it go back by `give_back`."""
        shares = self._gpus.take(amounts.get(GPU, 0))
        assert shares is not None, "take() without fits()"
        if not shares and self._bundle_gpus:
            shares = self._of_bundle(amounts)
        resources.subtract(self.available, amounts, floor=False)
        return shares

    def give_back(self, amounts: Amounts, shares: GpuShares) -> None:
        """Undo `take`."""
        available = self.available
        resources.add(available, amounts)
        if self.version:
            for name in amounts:
                if not available[name] and name not in self.total:
                    # The last of a bundle that is gone.
                    del available[name]
        if not amounts.get(GPU, 0) and shares:
            for name in amounts:
                for devices in self._bundle_gpus.get(name, ()):
                    if devices.gave(shares):
                        devices.give_back(shares)
                        break
        else:
            self._gpus.give_back(shares)

    def _of_bundle(self, amounts: Amounts) -> GpuShares:
        """GPUs of a bundle: of the one that is named, or of any that has enough."""
        wanted = sorted((name for name in amounts if is_gpu(name)), key=len, reverse=True)
        for name in wanted[:1]:
            for devices in self._bundle_gpus.get(name, ()):
                shares = devices.take(amounts[name])
                if shares:
                    return shares
        return ()

    def lend_cpu(self, amount: int, name: str = CPU) -> None:
        """A taker waits: others may use its CPU, which may be one of a bundle."""
        self.available[name] = self.available.get(name, 0) + amount

    def retake_cpu(self, amount: int, name: str = CPU) -> None:
        """The taker runs again, whether or not the CPU is free."""
        self.available[name] = self.available.get(name, 0) - amount

    def add(self, amounts: Amounts, shares: GpuShares) -> None:
        """The node has more: a bundle of a placement group, whose GPUs are these."""
        resources.add(self.total, amounts)
        resources.add(self.available, amounts)
        self.version += 1
        for name in amounts:
            if is_gpu(name):
                self._bundle_gpus.setdefault(name, []).append(Devices.of(shares))

    def remove(self, amounts: Amounts) -> None:
        """The node has that no more; whoever holds something of it gives it back later."""
        for name, amount in amounts.items():
            self.total[name] -= amount
            self.available[name] -= amount
            if not self.total[name]:
                del self.total[name]
                self._bundle_gpus.pop(name, None)
                if not self.available[name]:
                    del self.available[name]
        self.version += 1

    def gpu_free(self) -> dict[str, int]:
        """What is free of each GPU."""
        return self._gpus.free()
