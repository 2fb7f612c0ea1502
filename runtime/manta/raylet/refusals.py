"""Why a node cannot stay in its cluster: what control says that no further try changes."""

from __future__ import annotations

from manta.core.errors import MantaError


class NodeDeclaredDeadError(MantaError):
    """Control has given this node up; its work belongs to others by now."""

    code = "NODE_DEAD"


class NotLetInError(MantaError):
    """Control does not want this node, and trying again is of no use. `cause` says why."""

    code = "NOT_LET_IN"

    def __init__(self, cause: MantaError) -> None:
        super().__init__(str(cause))
        self.cause = cause
