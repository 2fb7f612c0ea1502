"""Times and bounds of the actor table."""

from __future__ import annotations

from dataclasses import dataclass, field

from manta.aio.backoff import Backoff


@dataclass(frozen=True, slots=True)
class ActorLimits:
    """Times and bounds of the actor table.

    Attributes:
        dead_kept: Dead actors remembered; a late caller still learns why.
        announce_s: After a restart, owners have so long to announce the actors that raylets found running.
        restart: Delays between restarts; the first follows at once.
        settled_s: An incarnation that lived so long starts the delays anew. As long as the longest delay: one that is killed from
            outside now and then is not taken for one that cannot live.
        refused: Delays after a raylet refused a start.
    """

    dead_kept: int = 10_000
    announce_s: float = 30.0
    restart: Backoff = field(default_factory=lambda: Backoff(0.1, 2.0, 10.0, 0.0))
    settled_s: float = 10.0
    refused: Backoff = field(default_factory=lambda: Backoff(0.1, 2.0, 5.0, 0.0))
