"""Microseconds per value in `manta.serde`, beside what plain pickle and cloudpickle take: python benchmarks/micro/serde.py.

The best of several rounds counts: other work on the machine only ever adds. cloudpickle is what each of these would cost if
serde used it for everything; pickle is the floor (and can't do refs, nor code of the main program).
"""

from __future__ import annotations

import argparse
import fractions
import pickle
import timeit
import types
from collections.abc import Callable
from functools import partial
from time import perf_counter

import cloudpickle

from manta import serde
from manta.compat import run

ROUNDS = 7
ROUND_S = 0.02


class Ref:
    """Stands for an object ref: 28 bytes of id and where its owner is."""

    __slots__ = ("binary", "owner")

    def __init__(self, binary: bytes, owner: bytes) -> None:
        self.binary, self.owner = binary, owner


def reduce_ref(ref: Ref) -> tuple[object, ...]:
    # By a class of a module, as refs are; this file's own are code of the main program.
    return types.SimpleNamespace, (), {"id": ref.binary, "owner": ref.owner}


class LocalPoint:
    """A class of the main program: travels by value, each time."""

    def __init__(self, x: int) -> None:
        self.x = x


def local_function(x: int) -> int:
    return x + 1


def cases() -> dict[str, object]:
    owner = b"w" * 40
    values: dict[str, object] = {
        'a call: ((1, "a"), {})': ((1, "a"), {}),
        "a call with keywords and lists": ((1, [1, 2, 3], "text"), {"key": {"a": 1.5, "b": None}}),
        "object of a module": argparse.Namespace(a=1, b="x", c=[1, 2]),
        "graph of 4 objects": [fractions.Fraction(1, 3), argparse.Namespace(inner=fractions.Fraction(1, 2)), {"k": 1}],
        "1 ref": ((Ref(b"i" * 28, owner),), {}),
        "10,000 refs": [Ref(i.to_bytes(28), owner) for i in range(10_000)],
        "list of 1,000 ints": list(range(1000)),
        "bytes, 100 KB": bytes(100_000),
        "object of a main class": LocalPoint(1),
        "function of main": local_function,
        "function of a module": run.run_script,
    }
    try:
        import numpy as np
    except ImportError:
        return values
    values["array, 3 floats"] = np.zeros(3)
    values["array, 80 KB"] = np.zeros(10_000)
    values["10 arrays, 80 KB each"] = [np.zeros(10_000) for _ in range(10)]
    return values


def best_us(call: Callable[[], object]) -> float:
    timer = timeit.Timer(call)
    number = 1
    while timer.timeit(number) < ROUND_S:
        number *= 4
    return min(timer.repeat(ROUNDS, number)) / number * 1e6


def column(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception:
        return f"{'-':>10}"
    return f"{best_us(call):10.2f}"


def main() -> None:
    serde.install_hooks(Ref, reduce_ref)
    titles = ("bytes", "serialize", "cloudpickle", "pickle", "to_bytes", "load", "pickle.load")
    print(f"{'µs each':32}" + "".join(f"{title:>12}" for title in titles))
    for name, value in cases().items():
        serialized = serde.serialize(value)
        data = serde.to_bytes(serialized)
        plain = cloudpickle.dumps(value, 5)
        columns = (
            f"{len(data):10,}",
            column(partial(serde.serialize, value)),
            column(partial(cloudpickle.dumps, value, 5)),
            column(partial(pickle.dumps, value, 5)),
            column(partial(serde.to_bytes, serialized)),
            column(partial(serde.deserialize, data)),
            column(partial(pickle.loads, plain)),
        )
        print(f"{name:32}" + "".join(f"  {text}" for text in columns))
    large()


def large() -> None:
    """An in-band 64 MB value and an out-of-band one, written into warm memory by one thread."""
    target = memoryview(bytearray(80 << 20))
    print(f"\n{'GB/s into warm memory':32}")
    for name, value in (("bytes", bytes(64 << 20)), ("buffer", pickle.PickleBuffer(bytearray(64 << 20)))):
        best = 0.0
        for _ in range(ROUNDS):
            start = perf_counter()
            size = serde.write_into(serde.serialize(value), target)
            best = max(best, size / (perf_counter() - start) / 1e9)
        print(f"{name + ', 64 MB':32}{best:10.1f}")


if __name__ == "__main__":
    main()
