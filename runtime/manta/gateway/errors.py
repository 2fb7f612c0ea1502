"""What only a gateway refuses."""

from __future__ import annotations

from manta.core.errors import MantaError


class SessionNotFoundError(MantaError):
    """A driver resumes a session that there is not, or not any more, or that is another's."""

    code = "SESSION_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__(
            "this gateway has no such session: it was gone for longer than the grace period, its process died, or another "
            "gateway has it; what it owned is freed, and init() opens a new one"
        )
