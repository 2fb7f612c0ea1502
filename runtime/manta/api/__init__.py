"""What users call: `init`, `remote`, `get`, `put`, `wait`, `cancel`, `kill`, actors, contexts.

Here arguments are checked and worded for people; the work is done by the process's session (`manta.client`). Nothing here
imports protobuf, cloudpickle, asyncio or grpc before `init` is called.
"""

from __future__ import annotations

from manta.client import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.session import Session


def _start() -> Session:
    from manta.api.init import start_by_itself  # late: whoever is asked first may be `put`, which needs none of it

    return start_by_itself()


current.start = _start
