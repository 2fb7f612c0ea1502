"""Why actors end, in the words that users read in `ActorDiedError`."""

from __future__ import annotations

from manta.control.model import Address, DeathCause, DeathKind, NodeId

#: Ends after which `max_restarts` applies. KILLED is among them because a kill for good never gets as far as a report.
RESTARTABLE = frozenset(
    {DeathKind.NODE_DIED, DeathKind.SYSTEM_ERROR, DeathKind.USER_ERROR, DeathKind.OUT_OF_MEMORY, DeathKind.KILLED}
)

KILLED = DeathCause(DeathKind.KILLED, "The actor is dead because it was killed by `ray.kill`.")
OUT_OF_SCOPE = DeathCause(DeathKind.OUT_OF_SCOPE, "The actor is dead because all references to the actor were removed.")
MOVES = DeathCause(DeathKind.NODE_DIED, "The actor moves: its node is being drained.")
JOB_FINISHED = DeathCause(DeathKind.JOB_FINISHED, "The actor is dead because its job has finished.")
GROUP_REMOVED = DeathCause(
    DeathKind.PLACEMENT_GROUP_REMOVED, "The placement group corresponding to this Actor has been removed."
)
VANISHED = DeathCause(
    DeathKind.SYSTEM_ERROR, "The actor's process was gone when its node registered with control again."
)
UNEXPLAINED = DeathCause(DeathKind.SYSTEM_ERROR, "The actor's process ended; its node did not say why.")


def owner_died(owner: Address) -> DeathCause:
    """Its owner's process is gone."""
    return DeathCause(
        DeathKind.OWNER_DIED,
        f"The actor is dead because its owner has died. Owner Id: {owner.worker_id.hex()}.",
    )


def node_died(node_id: NodeId, reason: str) -> DeathCause:
    """Its node is gone; `reason` may be empty."""
    why = f": {reason}" if reason else ""
    return DeathCause(DeathKind.NODE_DIED, f"The actor died because its node has died. Node Id: {node_id.hex()}{why}.")
