"""NumPy is optional: everything else works where it cannot be imported, in the driver and in its workers."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = '''
import sys

class NoNumPy:
    """As if it were not installed."""
    def find_spec(self, name, path=None, target=None):
        if name == "numpy" or name.startswith("numpy."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoNumPy())

import manta

manta.init(num_cpus=1)

@manta.remote
def numpy_is_there():
    return "numpy" in sys.modules

@manta.remote
def length(block):
    assert memoryview(block).readonly
    return len(block)

@manta.remote
class Keeper:
    def __init__(self, block):
        self.block = block
    def first(self):
        return self.block[0]

block = bytes(range(256)) * 4096
ref = manta.put(block)
assert manta.get(ref) == block
assert manta.get(length.remote(ref)) == len(block)
assert manta.get(Keeper.remote(ref).first.remote()) == 0
assert manta.get(numpy_is_there.remote()) is False
assert "numpy" not in sys.modules
manta.shutdown()
print("fine")
'''


def test_tasks_actors_and_large_objects_need_no_numpy():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=50)

    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr
