"""Tasks and actors of a driver outside: pickled here, run in the cluster. Nothing waits for an answer."""

from __future__ import annotations

from manta.client.actor_client import ActorClient, gone, handle_id
from manta.client.arguments import Extra
from manta.client.calling import results_of
from manta.client.generators import StreamReader, open_stream
from manta.client.handles import ActorHandle, handle_of
from manta.client.refs import ObjectRef, make_ref, released
from manta.client.templates import Templates
from manta.client.values import INLINE_BYTES
from manta.core import errors
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl
from manta.rpc.v1 import gateway_pb2 as gw
from manta.serde import serialize, to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.remote.session import RemoteSession
    from manta.client.templates import Template

#: How long control may take to make a named actor, and to say that a killed one's name is free.
NAMED_S = 60.0


class Calls:
    """Submits tasks and actor calls, creates and kills actors. From any thread where nothing else is said."""

    def __init__(self, session: RemoteSession) -> None:
        self._session = session
        self._counts = session.ownership.counts
        self._known = session.values.known
        self._outbox = session.outbox
        self._templates = Templates()
        #: Identity of tasks' scheduling keys, by the key's number.
        self._identities: dict[int, bytes] = {}
        #: Numbers of templates that the session knows.
        self._told: set[int] = set()
        self._clients: dict[bytes, ActorClient] = {}

    # -- templates

    def task_template(
        self,
        identity: bytes,
        demand: pb.LeaseDemand,
        definition: pb.DefineTemplate,
        *,
        max_retries: int,
        function_blob: bytes,
    ) -> Template:
        """See `session.Session`."""
        with self._session.lock:
            key = self._templates.key_for(identity, demand)
            self._identities[key.number] = identity
            return self._templates.add(definition, key, max_retries=max_retries, function_blob=function_blob)

    def method_template(self, definition: pb.DefineTemplate, *, max_retries: int) -> Template:
        """See `session.Session`."""
        with self._session.lock:
            return self._templates.add(definition, None, max_retries=max_retries)

    def _tell(self, template: Template) -> None:
        self._told.add(template.number)
        define = gw.DefineCall(number=template.number, definition=template.definition, max_retries=template.max_retries)
        if template.key is not None:
            define.identity = self._identities[template.key.number]
            define.demand.CopyFrom(template.key.message)
            define.demand.SetInParent()  # a task that needs nothing is a task all the same
            define.function_blob = template.function_blob
        self._session.say(gw.DriverAction(define=define))

    # -- calls

    def submit(self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `session.Session`."""
        return self._call(None, template, args, kwargs)

    def call(self, client: ActorClient, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `session.Session`."""
        return self._call(client, template, args, kwargs)

    def _call(
        self, client: ActorClient | None, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        session = self._session
        payload = None
        if template.num_returns == 1:
            for arg in args:
                if type(arg) is ObjectRef:
                    break
            else:
                for arg in kwargs.values():
                    if type(arg) is ObjectRef:
                        break
                else:
                    serialized = serialize((args, kwargs))
                    if serialized.size <= INLINE_BYTES and not serialized.refs and not serialized.handles:
                        payload = to_bytes(serialized)
        if payload is None:
            return self._call_special(client, template, args, kwargs)
        task_id = session.ids.task() if client is None else client.ids.next()
        oid = task_id + b"\1\0\0\0"
        if self._outbox.log.full:
            session.await_room()
        with session.lock:
            if session.broken is not None or session.closed:
                session.check()
            actor = b""
            if client is not None:
                actor = client.actor_id
                if client.max_pending > 0:
                    self._check_pending(client, template.name, oid)
            if template.number not in self._told:
                self._tell(template)
            self._counts[oid] = 1
            if released:
                # What was dropped since the last call rides along with this one, instead of in a message of its own.
                session.counting.drain_released()
            self._outbox.call(actor, template.number, task_id, payload)
        return make_ref(oid)

    def _call_special(
        self, client: ActorClient | None, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        session = self._session
        extra = Extra()
        payload, _missing = session.prepare(args, kwargs, extra)
        task_id = session.ids.task() if client is None else client.ids.next()
        oids = [task_id + (number + 1).to_bytes(4, "little") for number in range(max(template.num_returns, 0))]
        session.await_room()
        with session.lock:
            session.check()
            if client is not None and client.max_pending > 0:
                self._check_pending(client, template.name, task_id + b"\1\0\0\0")
            if template.number not in self._told:
                self._tell(template)
            for oid in oids:
                self._counts[oid] = 1
            if template.num_returns == -1:
                reader = StreamReader(session, task_id, template.definition.backpressure)  # type: ignore[arg-type]
                open_stream(reader, extra)
            said = gw.SubmitExtra(refs=_refs(extra), held=extra.held)
            actor = b"" if client is None else client.actor_id
            self._outbox.call(actor, template.number, task_id, payload, said)
            # From here on the session process holds them; what is let go of here is said after the call.
            session.ownership.drop_many(extra.held)
            session.counting.perform()
        return results_of(session, template, oids, extra)

    def _check_pending(self, client: ActorClient, name: str, oid: bytes) -> None:
        under_way = client.inflight
        if len(under_way) >= client.max_pending:
            for one in [one for one in under_way if one in self._known or one not in self._counts]:
                del under_way[one]
        if len(under_way) >= client.max_pending:
            raise errors.PendingCallsLimitExceeded(
                f"The task {name} could not be submitted to Actor({client.class_name}, {client.actor_id.hex()}) because more "
                f"than {client.max_pending} tasks are queued on the actor. This limit can be adjusted with the "
                "`max_pending_calls` actor option."
            )
        under_way[oid] = (oid, 0, b"")

    def cancel(self, oid: bytes, *, force: bool, recursive: bool) -> None:
        """See `session.Session`."""
        session = self._session
        with session.lock:
            session.check()
            if oid in self._known:
                return
            if force and oid[8:24] in self._clients:
                raise ValueError(
                    "force=True is not supported for actor tasks; kill the actor with kill(handle) instead."
                )
            session.say(gw.DriverAction(cancel=pb.CancelByRef(object_id=oid, force=force, recursive=recursive)))
            self._outbox.flush()

    # -- actors

    def know(self, actor_id: bytes, class_name: str, *, counted: bool, ordered: bool) -> ActorClient:
        """See `session.Session`. Called under the lock."""
        client = self._clients.get(actor_id)
        if client is None:
            client = self._clients[actor_id] = ActorClient(actor_id, class_name, counted=counted, ordered=ordered)
            watch = gw.WatchActor(actor_id=actor_id, class_name=class_name, counted=counted, ordered=ordered)
            self._session.say(gw.DriverAction(watch_actor=watch))
        client.handles += 1
        return client

    def drain_gone(self) -> None:
        """Handles whose Python object is gone. Called under the lock."""
        while gone:
            client = gone.popleft()
            client.handles -= 1
            if not client.handles and self._clients.get(client.actor_id) is client:
                del self._clients[client.actor_id]
                forget = gw.WatchActor(actor_id=client.actor_id, forget=True)
                self._session.say(gw.DriverAction(watch_actor=forget))

    def create_actor(
        self,
        request: ctl.CreateActorRequest,
        spec: pb.ActorSpec,
        table: pb.MethodTable,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> ActorHandle[Any]:
        """See `session.Session`."""
        session = self._session
        extra = Extra()
        spec.args, missing = session.prepare(args, kwargs, extra)
        actor_id: bytes = request.actor_id
        counted = not request.detached
        make = gw.MakeActor(request=request, spec=spec, refs=_refs(extra), held=extra.held)
        try:
            if request.name:
                if missing:
                    session.wait_for_values(missing)
                found = self._make_named(make)
                if found.actor_id != actor_id:
                    return handle_of(found)
            if counted:
                with session.lock:
                    session.ownership.add(handle_id(actor_id))
            handle: ActorHandle[Any] = ActorHandle(actor_id, table, session.address_bytes, counted=counted)
            if not request.name:
                with session.lock:
                    session.check()
                    session.say(gw.DriverAction(make_actor=make))
                    self._outbox.flush()
            return handle
        finally:
            with session.lock:
                session.ownership.drop_many(extra.held)
                session.counting.perform()

    def _make_named(self, make: gw.MakeActor) -> ctl.ActorInfo:
        session = self._session
        with session.lock:
            session.check()
            make.request_id, reply = session.requests.waited_for()
            session.say(gw.DriverAction(make_actor=make))
        frame = session.answer(make.request_id, reply, f"the actor {make.request.name}", NAMED_S)
        return ctl.CreateActorResponse.FromString(frame.payload).actor

    def kill(self, client: ActorClient, *, no_restart: bool) -> None:
        """See `session.Session`."""
        session = self._session
        with session.lock:
            session.check()
            number, reply = session.requests.waited_for()
            end = gw.EndActor(request_id=number, actor_id=client.actor_id, no_restart=no_restart)
            session.say(gw.DriverAction(end_actor=end))
        session.answer(number, reply, "an actor's name to be free", NAMED_S)


def _refs(extra: Extra) -> list[pb.ArgRef]:
    return [pb.ArgRef(position=at, keyword=name, object_id=oid) for at, name, oid in extra.refs]
