"""What users call to create actors. Named ones are known to control for sure before the call returns."""

from __future__ import annotations

from manta.client.actor_client import handle_id
from manta.client.actor_creation import ActorCreation
from manta.client.arguments import Extra
from manta.client.handles import ActorHandle, handle_of
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manta.client.user import UserSession


class ActorMaking(ActorCreation):
    """Actors that this process makes, and how users make them."""

    _session: UserSession

    def create_actor(
        self,
        request: ctl.CreateActorRequest,
        spec: pb.ActorSpec,
        table: pb.MethodTable,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> ActorHandle[Any]:
        """Create an actor and return its handle; a named one is known to control by then. From any thread.

        Args:
            request: What control is told; its owner and `spec` are filled in here.
            spec: What the actor's worker is told; its owner and arguments are filled in here.
            table: The methods of its handle.
            args: For the constructor.
            kwargs: For the constructor.
        Raises:
            ActorAlreadyExistsError: Another living actor has the name.
        """
        session = self._session
        extra = Extra()
        spec.args, missing = session.prepare(args, kwargs, extra)
        spec.owner.CopyFrom(session.address)
        request.owner.CopyFrom(session.address)
        actor_id: bytes = request.actor_id
        if request.name:
            found = self._create_named(request, extra, missing, spec)
            if found is not None:
                return handle_of(found)
        counted = not request.detached
        if counted:
            with session.lock:
                session.ownership.add(handle_id(actor_id))
        handle: ActorHandle[Any] = ActorHandle(actor_id, table, session.address_bytes, counted=counted)
        if request.name:
            self.named_created(actor_id)
        else:
            with session.lock:
                self.create(request, extra, missing, spec)
        return handle

    def _create_named(
        self, request: ctl.CreateActorRequest, extra: Extra, missing: Sequence[bytes], spec: pb.ActorSpec
    ) -> ctl.ActorInfo | None:
        """Create a named actor and wait until its name is taken for good.

        Returns:
            The actor that had the name already (`get_if_exists`); None when this one has it now.

        Raises:
            ActorAlreadyExistsError: Another living actor has the name.
        """
        session = self._session
        if missing:
            session.wait_for_values(missing)
        with session.lock:
            self.fill_spec(spec, extra)
        request.spec = spec.SerializeToString()
        try:
            answer = session.control("CreateActor", request, ctl.CreateActorResponse)
        finally:
            with session.lock:
                session.ownership.drop_many(extra.held)
                extra.held = ()
                session.perform()
        if answer.actor.actor_id != request.actor_id:
            return answer.actor  # type: ignore[no-any-return]
        self.named[request.actor_id] = answer.actor
        return None
