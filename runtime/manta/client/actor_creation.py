"""Creating actors: announced to control, and again after control was replaced. What users call is in `actor_making`."""

from __future__ import annotations

import os

from manta.client.submit import Waiting
from manta.client.values import Failure
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from manta.client.actor_client import ActorClient
    from manta.client.actors import ActorClients
    from manta.client.arguments import Extra
    from manta.client.direct import DirectSession


class ActorCreation:
    """Actors that this process makes, until control has them."""

    def __init__(self, session: DirectSession, actors: ActorClients) -> None:
        self._session = session
        self._actors = actors
        #: Creations, so that they can be said again after control was replaced.
        self._created: dict[bytes, ctl.CreateActorRequest] = {}
        #: Those whose announcement control has not answered: it reaches control in any case, and is not said twice.
        self._unanswered: set[bytes] = set()
        #: What control answered for named actors whose handle is about to exist.
        self.named: dict[bytes, ctl.ActorInfo] = {}
        #: Objects held for constructors that have not ended.
        self._held: dict[bytes, Sequence[bytes]] = {}

    def create(
        self, request: ctl.CreateActorRequest, extra: Extra, missing: Sequence[bytes], spec: pb.ActorSpec
    ) -> None:
        """Announce a new actor to control; its constructor's arguments may not be there yet. Called under the lock."""
        client = self._actors.by_id[request.actor_id]

        def go() -> None:
            self.fill_spec(spec, extra)
            request.spec = spec.SerializeToString()
            self._created[request.actor_id] = request
            self._held[request.actor_id] = extra.held
            self._say(client, request)

        def failed(failure: Failure) -> None:
            self._actors.died(client, failure)

        client.owned = client.counted
        if missing:
            waiting = Waiting(len(missing), go, failed)
            for oid in missing:
                self._session.watch(oid, waiting)
        else:
            go()

    def fill_spec(self, spec: pb.ActorSpec, extra: Extra) -> None:
        """Write the constructor's arguments that are objects into the spec. Called under the lock, when they are there."""
        holder = pb.TaskExtra()
        self._session.fill_extra(holder, 0, extra)
        spec.refs.extend(holder.refs)

    def _create_answered(self, client: ActorClient, frame: pb.ControlReply) -> None:
        self._unanswered.discard(client.actor_id)
        if frame.HasField("error"):
            if frame.error.code == "RPC_TIMEOUT":
                # It may exist all the same: nobody would ever end it.
                request = ctl.KillActorRequest(request_id=os.urandom(16), actor_id=client.actor_id, no_restart=True)
                self._session.control_async("KillActor", request, lambda frame: None)
            self._actors.died(client, Failure(pb.TaskFailure(kind=pb.FAILURE_KIND_SYSTEM, error=frame.error)))
            return
        self._actors.state_info(ctl.CreateActorResponse.FromString(frame.payload).actor)

    def named_created(self, actor_id: bytes) -> None:
        """The handle of a named actor exists now: take over what control said of it."""
        with self._session.lock:
            client = self._actors.by_id[actor_id]
            client.owned = client.counted
            info = self.named.pop(actor_id, None)
            if info is not None:
                self._actors.state_info(info)

    def announce(self, client: ActorClient) -> None:
        """Control was replaced: say again what it may have forgotten. Named and detached actors are in its store."""
        request = self._created.get(client.actor_id)
        if request is None or client.actor_id in self._unanswered:
            return  # in the second case it is our question that came first
        again = ctl.CreateActorRequest()
        again.CopyFrom(request)
        again.request_id = os.urandom(16)  # with the old one, the answer would be the old one too
        info = client.info
        if info is not None and info.incarnation:
            again.known.actor_id = client.actor_id
            again.known.incarnation = info.incarnation
            again.known_num_restarts = info.num_restarts
            if info.state == ctl.ACTOR_PHASE_ALIVE:
                again.known_address.CopyFrom(info.address)
        self._say(client, again)

    def _say(self, client: ActorClient, request: ctl.CreateActorRequest) -> None:
        self._unanswered.add(client.actor_id)
        self._session.control_async("CreateActor", request, lambda frame: self._create_answered(client, frame))

    def ended(self, info: ctl.ActorInfo) -> None:
        """The constructor has run, or never will again: its arguments are needed no more."""
        held = self._held.pop(info.actor_id, None)
        if held:
            self._session.ownership.drop_many(held)
            self._session.perform()

    def forget(self, actor_id: bytes) -> None:
        """The actor is over: it is not announced again."""
        self._created.pop(actor_id, None)
