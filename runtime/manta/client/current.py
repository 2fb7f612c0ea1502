"""The process's session: the one variable that everything above reads.

It sits below `api` so that refs and handles, which travel everywhere, can find the session without importing what users call.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from manta.client.session import Session

#: The session of this process; None before `init` and after `shutdown`.
session: Session | None = None

#: Starts one when user code needs it: `api.init` puts itself here. Raises when starting by itself is turned off.
start: Callable[[], Session] | None = None


def require() -> Session:
    """The session, started if there is none yet."""
    if session is not None:
        return session
    if start is None:
        from manta.core.errors import NotConnectedError

        raise NotConnectedError
    return start()
