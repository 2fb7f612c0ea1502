"""Names that programs import from `ray.actor`."""

from manta.api.actor_classes import ActorClass, ActorClassInheritanceException, exit_actor
from manta.client.handles import ActorHandle, ActorMethod

__all__ = ["ActorClass", "ActorClassInheritanceException", "ActorHandle", "ActorMethod", "exit_actor"]
