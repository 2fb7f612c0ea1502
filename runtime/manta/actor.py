"""Names that programs import from `ray.actor`."""

from manta.api.actor_classes import ActorClass, exit_actor
from manta.client.handles import ActorHandle, ActorMethod

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "exit_actor"]
