"""Sizes, errors, and what importing costs."""

import pickle
import subprocess
import sys

import pytest

from manta.shm.errors import ArenaClosedError, MappingError, ReservationError
from manta.shm.layout import EXTENT_BYTES, MIB, aligned, extent_bytes


def test_sizes_are_rounded_up_to_cache_lines():
    assert [aligned(size) for size in (0, 1, 64, 65, 1000)] == [64, 64, 64, 128, 1024]


def test_small_arenas_grow_in_small_steps():
    assert [extent_bytes(size * MIB) for size in (1, 8, 100, 512, 100_000)] == [
        MIB,
        MIB,
        8 * MIB,
        EXTENT_BYTES,
        EXTENT_BYTES,
    ]


@pytest.mark.parametrize("error", [ReservationError(5, 3, "why"), MappingError(5, "why"), ArenaClosedError("why")])
def test_errors_keep_their_fields_when_they_travel(error):
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert "why" in str(error)


def test_the_package_itself_loads_nothing_heavy():
    """ctypes is paid by a process that joins a node, not by `import manta`."""
    code = "import sys, manta; sys.modules.pop('ctypes', None); import manta.shm.layout, manta.shm.block, manta.shm.errors; "
    code += "print('ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
