"""Amounts of named resources, in fixed point: 10,000 is one CPU, one GPU, one byte of memory, one of whatever a name counts.

Whole numbers add up; fractions do not, and a node that lost 1e-16 of a CPU never again runs a task that asks for all of
it. What users write is rounded down to 1/10000 once, here, and is an `int` from then on.

State that changes (a node's free amounts) is a plain `dict[str, int]` handled by the functions below; a request that
travels is a `ResourceSet`. Neither holds zeros, except a dict of free amounts, where a name at zero says that the node
has some of it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Final

#: Parts of one.
UNIT: Final = 10_000

#: Largest amount, in parts: what an int64 holds (and so nearly 2**50 bytes of memory).
LARGEST: Final = (1 << 63) - 1

CPU: Final = "CPU"
GPU: Final = "GPU"
MEMORY: Final = "memory"
OBJECT_STORE_MEMORY: Final = "object_store_memory"

#: What `accelerator_type="A100"` asks for: a little of a resource that only nodes with that accelerator have.
ACCELERATOR_PREFIX: Final = "accelerator_type:"
ACCELERATOR_SHARE: Final = 10

#: Names that have a keyword of their own.
KEYWORDS: Final = {
    CPU: "num_cpus",
    GPU: "num_gpus",
    MEMORY: "memory",
    OBJECT_STORE_MEMORY: "object_store_memory",
}

#: Longest name of a resource.
NAME_LIMIT: Final = 256

#: A float that means a whole number of parts may lie this much below it: 0.57 * 10000 is 5699.999999999999.
_SLACK = 0.001


# --- what users write -----------------------------------------------------------------------------------------------


def to_fixed(name: str, quantity: float) -> int:
    """An amount that a user wrote, in parts. Finer than a part is rounded down, so that thirds of a CPU fit three times.

    Args:
        name: The keyword or resource that the message names.
        quantity: At least 0, finite, and 0 or at least 0.0001.

    Raises:
        TypeError: `quantity` is no number. A bool is none here.
        ValueError: It is negative, NaN, infinite, too large to be meant, or too small to be counted.
    """
    if isinstance(quantity, bool) or not isinstance(quantity, (int, float)):
        raise TypeError(
            f"The quantity of resource {name} must be an int or a float, but received type {type(quantity)}"
        )
    if quantity != quantity:
        raise ValueError(f"The quantity of resource {name} cannot be NaN")
    if quantity < 0:
        raise ValueError(f"The quantity of resource {name} cannot be negative, got {show_number(quantity)}")
    if quantity > LARGEST // UNIT:
        raise ValueError(
            f"The quantity of resource {name} cannot be larger than {LARGEST // UNIT}, got {show_number(quantity)}"
        )
    parts = quantity * UNIT if isinstance(quantity, int) else int(quantity * UNIT + _SLACK)
    if parts == 0 and quantity:
        raise ValueError(
            f"The precision of the fractional quantity of resource {name} cannot go beyond 0.0001, got {quantity:g}"
        )
    return parts


def show_number(number: object) -> str:
    """A user's number for a message; an int that would fill pages by its size only, which Python may refuse to print."""
    if isinstance(number, float):
        return f"{number:g}"
    if isinstance(number, int) and number.bit_length() > 128:
        return f"{'-' if number < 0 else ''}2**{number.bit_length() - 1} or more"
    return str(number)


def check_name(name: object) -> str:
    """A resource's name that a user wrote, if it is one.

    Raises:
        TypeError: It is no string.
        ValueError: It is empty, too long, or holds what is not printable.
    """
    if not isinstance(name, str):
        raise TypeError(f"A resource's name must be a string, but received {name!r:.100} of type {type(name)}")
    if not name or len(name) > NAME_LIMIT or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"{name!r:.100} cannot be a resource's name: it takes 1 to {NAME_LIMIT} printable characters, "
            "with no space at either end"
        )
    return name


def custom_resources(resources: Mapping[str, float] | None, keyword: str = "resources") -> dict[str, int]:
    """The amounts in a user's `resources=` argument. Zeros are checked and left out.

    Raises:
        TypeError: It is no dict, or a name or an amount has a wrong type.
        ValueError: A name has a keyword of its own (CPU, GPU, memory), is reserved or absurd; or an amount is bad.
    """
    if resources is None:
        return {}
    if not isinstance(resources, dict):
        raise TypeError(f"The type of keyword '{keyword}' must be a dict, but received type {type(resources)}")
    if CPU in resources or GPU in resources:
        raise ValueError("Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' keyword")
    for name in (MEMORY, OBJECT_STORE_MEMORY):
        if name in resources:
            raise ValueError(
                "The resources dictionary must not contain the key 'memory' or 'object_store_memory': "
                f"use the '{KEYWORDS[name]}' keyword"
            )
    if "bundle" in resources:
        raise ValueError(f"The resource should not include `bundle` which is reserved. resources: {resources}")
    amounts = {check_name(name): to_fixed(name, quantity) for name, quantity in resources.items()}
    return {name: amount for name, amount in amounts.items() if amount}


def request(
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: float | None = None,
    resources: Mapping[str, float] | None = None,
    accelerator_type: str | None = None,
) -> ResourceSet:
    """What a task or actor asks for, from a user's options. None asks for nothing.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An amount or name is bad, see `to_fixed` and `custom_resources`; or more than one GPU with a fraction
            was asked for, which no assignment of devices could mean.
    """
    amounts = custom_resources(resources)
    if num_cpus is not None and (parts := to_fixed("num_cpus", num_cpus)):
        amounts[CPU] = parts
    if num_gpus is not None and (parts := to_fixed("num_gpus", num_gpus)):
        if parts > UNIT and parts % UNIT:
            raise ValueError(
                f"GPU resource quantities >1 must be whole numbers. The specified quantity {num_gpus} is invalid."
            )
        amounts[GPU] = parts
    if memory is not None and (parts := to_fixed("memory", memory)):
        amounts[MEMORY] = parts // UNIT * UNIT or UNIT
    if accelerator_type is not None:
        if not isinstance(accelerator_type, str):
            raise TypeError(
                f"The type of keyword 'accelerator_type' must be a str, but received type {type(accelerator_type)}"
            )
        amounts[check_name(ACCELERATOR_PREFIX + accelerator_type)] = ACCELERATOR_SHARE
    return ResourceSet(amounts)


def to_float(amount: int) -> float:
    """An amount as users read it."""
    return amount / UNIT


def to_floats(amounts: Mapping[str, int], *, zeros: bool = False) -> dict[str, float]:
    """Amounts as users read them, names in order. `zeros` keeps names with nothing."""
    return {name: amount / UNIT for name, amount in sorted(amounts.items()) if amount or zeros}


def show(amounts: Mapping[str, int]) -> str:
    """Amounts for a message: `{CPU: 1.5, GPU: 2}`."""
    return "{" + ", ".join(f"{name}: {amount / UNIT:g}" for name, amount in sorted(amounts.items()) if amount) + "}"


# --- arithmetic on plain dicts ----------------------------------------------------------------------------------------


def fits(available: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
    """Whether `wanted` can be taken from `available`."""
    for name, amount in wanted.items():  # noqa: SIM110 - half the time of all() over a generator, for every queued shape
        if available.get(name, 0) < amount:
            return False
    return True


def missing(available: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, int]:
    """What `wanted` asks for beyond what is `available`; empty when it fits."""
    return {name: lack for name, amount in wanted.items() if (lack := amount - available.get(name, 0)) > 0}


def add(amounts: dict[str, int], more: Mapping[str, int]) -> None:
    """Add `more` to `amounts`, in place."""
    for name, amount in more.items():
        amounts[name] = amounts.get(name, 0) + amount


def subtract(amounts: dict[str, int], less: Mapping[str, int], *, floor: bool = True) -> None:
    """Take `less` from `amounts`, in place. Names stay, at zero too.

    Args:
        amounts: Changed.
        less: What is taken.
        floor: False lets amounts fall below zero: a worker that wakes takes its CPU back even if it is lent out.

    Raises:
        ValueError: It does not fit; `amounts` is unchanged.
    """
    if floor and not fits(amounts, less):
        raise ValueError(f"cannot take {show(less)} from {show(amounts)}: {show(missing(amounts, less))} is missing")
    for name, amount in less.items():
        amounts[name] = amounts.get(name, 0) - amount


def utilisation(
    total: Mapping[str, int], available: Mapping[str, int], names: Iterable[str] = (CPU, MEMORY, GPU)
) -> float:
    """Largest used share among `names`, 0.0 to 1.0 (and above it when more was taken than there is).

    Args:
        total: What the node has.
        available: What is free.
        names: Which resources count; those that the node lacks do not.
    """
    largest = 0.0
    for name in names:
        whole = total.get(name, 0)
        if whole > 0:
            used = (whole - available.get(name, 0)) / whole
            if used > largest:
                largest = used
    return largest


class ResourceSet:
    """Amounts that never change: what a request asks for. Holds no zeros; equal and hashable by what it holds.

    Args:
        amounts: Name to parts, none negative.
    """

    __slots__ = ("_amounts", "_hash", "key")

    #: Canonical, hashable form: names in order with their amounts. Two requests are of one shape when these are equal.
    key: tuple[tuple[str, int], ...]

    def __init__(self, amounts: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> None:
        items = sorted((name, amount) for name, amount in dict(amounts).items() if amount)
        if any(amount < 0 for _, amount in items):
            raise ValueError(f"amounts of a request cannot be negative: {show(dict(items))}")
        self.key = tuple(items)
        self._amounts = dict(items)
        self._hash = hash(self.key)

    def amounts(self) -> Mapping[str, int]:
        """Name to parts, names in order. Not to be changed."""
        return self._amounts

    def floats(self) -> dict[str, float]:
        """As users read it."""
        return to_floats(self._amounts)

    def get(self, name: str) -> int:
        """Parts of one resource; 0 if none is asked for."""
        return self._amounts.get(name, 0)

    def fits(self, available: Mapping[str, int]) -> bool:
        """Whether this can be taken from `available`."""
        return fits(available, self._amounts)

    def without(self, *names: str) -> ResourceSet:
        """The same without some resources."""
        return ResourceSet({name: amount for name, amount in self.key if name not in names})

    def only(self, *names: str) -> ResourceSet:
        """Some resources of it."""
        return ResourceSet({name: amount for name, amount in self.key if name in names})

    def __add__(self, other: ResourceSet) -> ResourceSet:
        amounts = dict(self._amounts)
        add(amounts, other._amounts)
        return ResourceSet(amounts)

    def __sub__(self, other: ResourceSet) -> ResourceSet:
        amounts = dict(self._amounts)
        subtract(amounts, other._amounts)
        return ResourceSet(amounts)

    def __bool__(self) -> bool:
        return bool(self.key)

    def __len__(self) -> int:
        return len(self.key)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceSet) and self.key == other.key

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"ResourceSet({show(self._amounts)})"

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return ResourceSet, (self.key,)


EMPTY: Final = ResourceSet()

# --- devices ----------------------------------------------------------------------------------------------------------

#: Which devices were given, and how much of each.
Assignment = tuple[tuple[str, int], ...]


class Devices:
    """The single devices behind a resource such as GPU: who has which, in whole or in part.

    Whole devices are given lowest first. A part goes to the device that has least left and still enough, so that
    whole ones stay whole.

    Args:
        ids: Names of the devices, in the order in which they are given: `("0", "1")`.
    """

    __slots__ = ("_free",)

    def __init__(self, ids: Iterable[str]) -> None:
        #: What is left of each device, in parts.
        self._free = dict.fromkeys(ids, UNIT)

    def take(self, amount: int) -> Assignment | None:
        """Give devices.

        Args:
            amount: In parts: a share of one device, or whole devices.

        Returns:
            The devices, or None if there are not enough: nothing was taken then. `()` for 0.

        Raises:
            ValueError: More than one device and a share of another: `request` refuses that.
        """
        if amount <= 0:
            return ()
        if amount < UNIT:
            free = [(left, place, name) for place, (name, left) in enumerate(self._free.items()) if left >= amount]
            taken = [(min(free)[2], amount)] if free else []
        elif amount % UNIT:
            raise ValueError(f"{amount / UNIT:g} devices: above one they are given whole")
        else:
            whole = [name for name, left in self._free.items() if left == UNIT][: amount // UNIT]
            taken = [(name, UNIT) for name in whole] if len(whole) * UNIT == amount else []
        for name, share in taken:
            self._free[name] -= share
        return tuple(taken) or None

    def give_back(self, assignment: Assignment) -> None:
        """Take back what `take` gave, all of it.

        Raises:
            ValueError: It was not given; nothing changed.
        """
        for name, share in assignment:
            if name not in self._free or not 0 < share <= UNIT - self._free[name]:
                raise ValueError(f"{share / UNIT:g} of device {name!r} was not given")
        for name, share in assignment:
            self._free[name] += share

    @classmethod
    def of(cls, assignment: Assignment) -> Devices:
        """Those of an assignment, to be given on."""
        devices = cls(())
        devices._free = dict(assignment)
        return devices

    def gave(self, assignment: Assignment) -> bool:
        """Whether all of that may be of these."""
        return all(name in self._free for name, _ in assignment)

    def free(self) -> dict[str, int]:
        """What is left of each device, in parts."""
        return dict(self._free)
