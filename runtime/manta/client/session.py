"""The port between what users call and the process's session: `api` and handles know nothing else of it.

`direct.DirectSession` is the one for processes on a node. (The one for drivers outside, through the gateway, implements the
same.)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.direct import DirectSession as Session  # noqa: TC004 - __all__ is for type checkers too

    __all__ = ["Session"]
