"""How large a node is, for Kubernetes and for Manta's scheduler: both from a group's `resources` alone."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from manta.core.capacity import Capacity
from manta_operator.api import quantity
from manta_operator.api.field import Quantity
from manta_operator.api.pods import Resources

#: Of a head whose resources say nothing of CPUs or of memory: then it is BestEffort, and little is expected of it.
_UNSAID_CPUS = Decimal(1)
_UNSAID_STORE = 256 << 20


@dataclass(frozen=True, slots=True)
class Size:
    """What Manta schedules on a node.

    Attributes:
        cpus: Perhaps a fraction.
        gpus: Whole ones.
        memory_bytes: The container's, for the object store and for what tasks may ask for. 0 if nobody said.
        store_bytes: The object store's part of it.
    """

    cpus: Decimal
    gpus: int
    memory_bytes: int
    store_bytes: int


def size_of(resources: Resources, store: Quantity | None = None) -> Size:
    """What a container of such resources can be.

    Args:
        resources: Of the raylet's container; what they limit counts, else what they request.
        store: Memory of the object store; None for 30 % of the container's.
    """
    cpus, memory = resources.most("cpu"), resources.most("memory")
    whole = int(quantity.amount(memory)) if memory is not None else 0
    if store is not None:
        store_bytes = int(quantity.amount(store))
    else:
        # As the runtime would choose in a container of that size.
        store_bytes = Capacity(1, whole).store_bytes if whole else _UNSAID_STORE
    return Size(
        cpus=quantity.amount(cpus) if cpus is not None else _UNSAID_CPUS,
        gpus=sum(_count(resources, name) for name in {*resources.limits, *resources.requests} if _is_gpu(name)),
        memory_bytes=whole,
        store_bytes=store_bytes,
    )


def _count(resources: Resources, name: str) -> int:
    most = resources.most(name)
    return 0 if most is None else int(quantity.amount(most))


def _is_gpu(name: str) -> bool:
    # nvidia.com/gpu, amd.com/gpu; slices of one as NVIDIA's device plugin calls them are GPUs to whoever gets one.
    return name.endswith("/gpu") or name.startswith("nvidia.com/mig-")


def plain(amount: Decimal) -> str:
    """A number without an exponent, as `float` and people read it."""
    return f"{amount.normalize():f}"
