"""Imports gRPC with our settings, which it reads from the environment just then: whoever wants them imports this first.

They are said for so long only. What a process starts, user code above all, has the environment that the process was given.
"""

from __future__ import annotations

import os
from typing import Final

SETTINGS: Final = {
    # It would print to our stderr, and prepare for forks that never come.
    "GRPC_VERBOSITY": "NONE",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    # Names are looked up as by every other program. gRPC's own resolver asks for IPv6 addresses, of which a Service may have
    # none, under each name of the search list, and at last outside of the cluster: for two seconds, if nobody answers there.
    "GRPC_DNS_RESOLVER": "native",
}

_said = {name: value for name, value in SETTINGS.items() if name not in os.environ}
os.environ.update(_said)
try:
    import grpc as _grpc  # noqa: F401
finally:
    for _name in _said:
        del os.environ[_name]
