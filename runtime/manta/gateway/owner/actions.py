"""What a driver outside asks for, done in its name. Runs under the process's lock and never blocks."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from manta.client.actor_client import gone, handle_id
from manta.client.arguments import Extra
from manta.client.submit import Waiting
from manta.core import errors
from manta.core.ids import ACTOR_ID_BYTES, OBJECT_ID_BYTES, TASK_ID_BYTES
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport.message_data import split_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from manta.client.actor_client import ActorClient
    from manta.client.templates import Template
    from manta.client.values import Failure
    from manta.gateway.owner.session import OutsideSession
    from manta.gateway.owner.speaker import Speaker
    from manta.gateway.owner.transfers import Transfers

#: A message of this size holds a part of a large value, which is not to be copied by decoding it.
LARGE_BYTES = 64 << 10


class Actions:
    """Does what the driver's messages say, in order, each once."""

    def __init__(self, session: OutsideSession, speaker: Speaker, transfers: Transfers) -> None:
        self._session = session
        self._speaker = speaker
        self._transfers = transfers
        self._ownership = session.ownership
        #: By the driver's numbers.
        self._templates: dict[int, Template] = {}
        self._clients: dict[bytes, ActorClient] = {}
        self._data: bytes | memoryview = b""
        self._do: dict[str, Callable[[Any], None]] = {
            "define": self._define,
            "submit": self._submit,
            "put": self._put,
            "chunk": self._chunk,
            "hold": self._hold,
            "release": self._release,
            "want": self._want,
            "fetch": self._fetch,
            "cancel": self._cancel,
            "watch_actor": self._watch_actor,
            "make_actor": self._make_actor,
            "end_actor": self._end_actor,
            "control": self._control,
            "consumed": self._consumed,
            "goodbye": lambda goodbye: session.end(),
        }

    def message(self, data: bytes) -> None:
        """One encoded ConnectRequest.

        Raises:
            ProtocolError: It is none, or says what cannot be; the session cannot go on.
        """
        tail: memoryview | bytes = b""
        try:
            if len(data) >= LARGE_BYTES:
                head, tail = split_data(data)
                message = gw.ConnectRequest.FromString(head)
            else:
                message = gw.ConnectRequest.FromString(data)
        except DecodeError as broken:
            raise errors.ProtocolError(f"a message of the driver's cannot be decoded: {broken}") from broken
        self._speaker.acknowledged(message.received)
        if not message.number or not self._speaker.log.take(message.number, len(data)):
            return
        self._data = tail or message.data
        for action in message.actions:
            kind = action.WhichOneof("kind")
            do = self._do.get(kind or "")
            if do is None:
                raise errors.ProtocolError("an action of the driver's says nothing that this gateway knows")
            do(getattr(action, kind or ""))
        self._session.flush()
        self._speaker.flush()

    # -- calls

    def _define(self, define: gw.DefineCall) -> None:
        templates = self._session.templates
        key = templates.key_for(define.identity, define.demand) if define.HasField("demand") else None
        self._templates[define.number] = templates.add(
            define.definition, key, max_retries=define.max_retries, function_blob=define.function_blob
        )

    def _submit(self, calls: gw.SubmitCalls) -> None:
        ids, args, numbers = calls.task_ids, list(calls.args), list(calls.templates)
        if len(ids) != TASK_ID_BYTES * len(args) or len(numbers) not in (1, len(args)):
            raise errors.ProtocolError("the columns of the driver's calls differ in length")
        try:
            templates = [self._templates[number] for number in numbers]
        except KeyError as unknown:
            raise errors.ProtocolError(f"the driver's template {unknown} was never defined") from None
        client = self._client(calls.actor_id) if calls.actor_id else None
        extras = {extra.index: extra for extra in calls.extras}
        session = self._session
        submitter, counts, watch, speaker = session.submitter, self._ownership.counts, session.watch, self._speaker
        template = templates[0]
        for index, payload in enumerate(args):
            task_id = ids[TASK_ID_BYTES * index : TASK_ID_BYTES * (index + 1)]
            if len(templates) > 1:
                template = templates[index]
            if (template.key is None) != (client is not None):
                raise errors.ProtocolError("the driver calls a method as a task, or a task as a method")
            if template.num_returns != 1 or index in extras:
                self._submit_special(client, template, task_id, payload, extras.get(index))
                continue
            oid = task_id + b"\1\0\0\0"
            counts[oid] = 1
            if client is not None:
                session.actor_calls.enqueue(client, (oid, template.number, payload))
            else:
                submitter.unfinished += 1
                submitter.enqueue(template, (oid, template.number, payload))
            watch(oid, speaker)

    def _submit_special(
        self,
        client: ActorClient | None,
        template: Template,
        task_id: bytes,
        payload: bytes,
        told: gw.SubmitExtra | None,
    ) -> None:
        session = self._session
        extra = Extra() if told is None else self._extra(told.refs, told.held)
        missing = session.arguments.hold(extra)
        if client is not None:
            oids = session.actor_calls.enter(client, template, task_id, payload, extra, missing)
        else:
            oids = session.submitter.enter(template, task_id, payload, extra, missing)
        for oid in oids:
            session.watch(oid, self._speaker)

    def _extra(self, refs: Iterable[pb.ArgRef], held: Iterable[bytes]) -> Extra:
        extra = Extra()
        extra.refs = [(ref.position, ref.keyword, ref.object_id) for ref in refs]
        extra.held = list(held)
        self._check([oid for _, _, oid in extra.refs])
        self._check(extra.held)
        return extra

    def _check(self, oids: Sequence[bytes]) -> None:
        """A driver refers to what it holds; anything else would be waited for for ever."""
        for oid in oids:
            if oid not in self._ownership.counts:
                raise errors.ProtocolError(f"the driver refers to object {oid.hex()}, which it does not hold")

    def _cancel(self, cancel: pb.CancelByRef) -> None:
        try:
            self._session.cancel(cancel.object_id, force=cancel.force, recursive=cancel.recursive)
        except ValueError as wrong:
            raise errors.ProtocolError(str(wrong)) from wrong

    def _consumed(self, frame: pb.StreamConsumed) -> None:
        stream = self._session.forwarded.get(frame.task_id)
        if stream is not None:
            stream.consumed(frame)

    # -- objects

    def _put(self, put: gw.PutObject) -> None:
        oid = put.object_id
        if len(oid) != OBJECT_ID_BYTES or oid in self._ownership.counts:
            raise errors.ProtocolError(f"the driver puts an object under the id {oid.hex()}")
        self._check(put.contained)
        self._ownership.counts[oid] = 1
        if put.contained:
            self._session.counting.hold_contained(oid, list(put.contained))
        if put.size:
            self._transfers.put(oid, put.size)
        else:
            self._session.values.set(oid, put.value)

    def _chunk(self, chunk: gw.PutChunk) -> None:
        self._transfers.part(chunk.object_id, None if chunk.abort else self._data)

    def _hold(self, hold: gw.HoldObjects) -> None:
        session, ownership = self._session, self._ownership
        oids = list(hold.object_ids)
        request_id = hold.request_id
        if request_id:
            session.register_borrows(oids, lambda: self._speaker.answer(request_id))
            return
        if len(oids) != len(hold.owners):
            raise errors.ProtocolError("the driver holds objects without owners")
        for oid, owner in zip(oids, hold.owners, strict=True):
            ownership.receive(oid, owner, owner == session.address_bytes)
        session.register_borrows(oids, lambda: None)
        session.perform()

    def _release(self, release: gw.ReleaseRefs) -> None:
        self._ownership.drop_many(release.object_ids)
        self._session.perform()

    def _want(self, want: pb.WantObject) -> None:
        for oid in want.object_ids:
            self._session.watch(oid, self._speaker)

    def _fetch(self, fetch: gw.FetchObject) -> None:
        if fetch.cancel:
            self._transfers.cancel(fetch.request_id)
        else:
            self._transfers.fetch(fetch.request_id, fetch.object_id)

    # -- actors

    def _client(self, actor_id: bytes) -> ActorClient:
        client = self._clients.get(actor_id)
        if client is None:
            raise errors.ProtocolError(f"the driver calls actor {actor_id.hex()}, of which it has no handle")
        return client

    def _watch_actor(self, watch: gw.WatchActor) -> None:
        actor_id = watch.actor_id
        if len(actor_id) != ACTOR_ID_BYTES:
            raise errors.ProtocolError(f"the driver watches an actor of the id {actor_id.hex()}")
        if watch.forget:
            client = self._clients.pop(actor_id, None)
            if client is not None:
                gone.append(client)
            return
        if actor_id in self._clients:
            return
        actors = self._session.actors
        self._clients[actor_id] = actors.know(actor_id, watch.class_name, counted=watch.counted, ordered=watch.ordered)
        if actor_id in actors.creation.named:
            actors.creation.named_created(actor_id)

    def _make_actor(self, make: gw.MakeActor) -> None:
        session, request, spec = self._session, make.request, make.spec
        extra = self._extra(make.refs, make.held)
        missing = session.arguments.hold(extra)
        spec.owner.CopyFrom(session.address)
        request.owner.CopyFrom(session.address)
        if make.request_id:
            self._make_named(make, extra, missing)
            return
        self._client(request.actor_id)
        if not request.detached:
            self._ownership.add(handle_id(request.actor_id))
        session.actors.creation.create(request, extra, missing, spec)

    def _make_named(self, make: gw.MakeActor, extra: Extra, missing: Sequence[bytes]) -> None:
        session, speaker, request = self._session, self._speaker, make.request

        def go() -> None:
            session.actors.creation.fill_spec(make.spec, extra)
            request.spec = make.spec.SerializeToString()
            session.control_async("CreateActor", request, answered)

        def failed(failure: Failure) -> None:
            failure.read = True
            session.ownership.drop_many(extra.held)
            speaker.answer(make.request_id, error=failure.fields.error)

        def answered(frame: pb.ControlReply) -> None:
            session.ownership.drop_many(extra.held)
            session.perform()
            if not frame.HasField("error"):
                info = ctl.CreateActorResponse.FromString(frame.payload).actor
                if info.actor_id == request.actor_id:
                    session.actors.creation.named[info.actor_id] = info
                    if not request.detached:
                        session.ownership.add(handle_id(info.actor_id))
            self._answer(make.request_id, frame)

        if missing:
            waiting = Waiting(len(set(missing)), go, failed)
            for oid in set(missing):
                session.watch(oid, waiting)
        else:
            go()

    def _end_actor(self, end: gw.EndActor) -> None:
        session, speaker = self._session, self._speaker
        client = self._client(end.actor_id)
        session.actors.kill(client, no_restart=end.no_restart)
        if client.info is None or not client.info.name:
            speaker.answer(end.request_id)
            return
        request = ctl.GetActorRequest(actor_id=end.actor_id)
        session.control_async("GetActor", request, lambda frame: speaker.answer(end.request_id))

    # -- control

    def _control(self, call: pb.ControlCall) -> None:
        request_id = call.request_id
        self._session.relay.pass_on(call.method, call.payload, lambda frame: self._answer(request_id, frame))

    def _answer(self, request_id: int, frame: pb.ControlReply) -> None:
        error: Any = frame.error if frame.HasField("error") else None
        self._speaker.answer(request_id, frame.payload, error)
