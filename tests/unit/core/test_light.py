"""Everything here is loaded by `import manta`."""

import subprocess
import sys

HEAVY = (
    "asyncio dataclasses enum inspect re typing collections functools logging json random threading traceback weakref"
)

SCRIPT = f"""
import sys
before = set(sys.modules)
import manta.core.ids, manta.core.errors, manta.core.errors.wire, manta.core.resources, manta.core.options
import manta.core.environment, manta.core.clock, manta.exceptions
print(*sorted((set(sys.modules) - before) & set("{HEAVY}".split())))
"""


def test_core_loads_nothing_heavy():
    """A fresh interpreter without site-packages' hooks, which load what they like."""
    path = next(entry for entry in sys.path if entry.endswith("runtime"))
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {path!r})\n{SCRIPT}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (ran.stdout.strip(), ran.stderr, ran.returncode) == ("", "", 0)
