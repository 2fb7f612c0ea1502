"""Calls of actors: one client per actor and process, ordered, fenced by incarnation.

An actor's state comes from control, through the raylet; its calls go straight to its worker. All handles of an actor in one
process share one order. While any call is under way the handle is held, so that an actor never goes out of scope with calls
that have not reached it.
"""

from __future__ import annotations

import logging
import os
from collections import deque

from manta.client import failures
from manta.client.refs import ObjectRef, make_ref
from manta.client.submit import GATHER, GATHER_S, Extra, Template, Waiting
from manta.client.values import INLINE_BYTES, Failure
from manta.core import errors
from manta.core.environment import setting
from manta.core.errors.actor import OUT_OF_SCOPE
from manta.core.ids import ActorCallIds, creation_task_id
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl
from manta.serde import serialize, to_bytes
from manta.transport.channel import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manta.client.direct import DirectSession
    from manta.client.lease import Record
    from manta.client.links import Link

log = logging.getLogger(__name__)

#: Bytes of calls in one frame.
BATCH_BYTES = 1 << 20
BATCH_CALLS = 512

#: How control begins the reason of an actor that waits for what no node has.
INFEASIBLE = "infeasible: "

#: Handles that are gone are looked at when there are so many; as many actors without any are remembered.
SWEEP = 256

#: Clients of handles whose Python object is gone, once for each. As `refs.released`.
gone: deque[ActorClient] = deque()


def handle_id(actor_id: bytes) -> bytes:
    """The object whose references are the actor's handles."""
    return creation_task_id(actor_id) + b"\1\0\0\0"


class ActorClient:
    """One actor as this process sees it."""

    __slots__ = (
        "actor_id",
        "busy",
        "cause",
        "class_name",
        "counted",
        "handle",
        "handles",
        "ids",
        "incarnation",
        "inflight",
        "info",
        "link",
        "max_pending",
        "next_number",
        "ordered",
        "owned",
        "phase",
        "queue",
        "sequence",
        "told",
        "waiting",
    )

    def __init__(self, actor_id: bytes, class_name: str, *, counted: bool, ordered: bool) -> None:
        self.actor_id = actor_id
        self.class_name = class_name
        #: Its handles are counted (it is neither detached nor found by name).
        self.counted = counted
        #: Id of the object that stands for its handles.
        self.handle = handle_id(actor_id)
        #: A call whose argument is missing holds up later ones.
        self.ordered = ordered
        self.ids = ActorCallIds(actor_id)
        self.phase: int = ctl.ACTOR_PHASE_PENDING_CREATION
        self.info: ctl.ActorInfo | None = None
        self.incarnation = 0
        self.link: Link | None = None
        #: Calls not pushed yet, in order.
        self.queue: deque[Record] = deque()
        #: Calls with the actor, in order.
        self.inflight: dict[bytes, Record] = {}
        #: Of the queue, those whose arguments are missing.
        self.waiting: set[bytes] = set()
        #: Number of the next call, from 0 in each incarnation.
        self.next_number = 0
        #: The handle is held because calls are under way.
        self.busy = False
        #: Why it is dead.
        self.cause: Failure | None = None
        self.max_pending = -1
        #: Handles of it in this process, found ones included.
        self.handles = 0
        #: Somebody was told that it waits in vain.
        self.told = False
        #: This process made it and says when its last handle is gone.
        self.owned = False
        #: Names this client to the actor; its calls are in order.
        self.sequence = 0


class ActorClients:
    """All actors this process knows."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self._ownership = session.ownership
        self._values = session.values
        self._extras = session.submitter.extras
        self._templates = session.submitter._templates
        self.by_id: dict[bytes, ActorClient] = {}
        self._by_worker: dict[bytes, ActorClient] = {}
        self._dirty: set[ActorClient] = set()
        self._gathered = 0
        self._gather_due: float | None = None
        #: Creations, so that they can be said again after control was replaced.
        self._created: dict[bytes, ctl.CreateActorRequest] = {}
        self._named: dict[bytes, ctl.ActorInfo] = {}
        #: Objects held for constructors that have not ended.
        self._held: dict[bytes, Sequence[bytes]] = {}
        self._sequences = 0
        #: Clients without a handle, the longest so first.
        self._unused: dict[ActorClient, None] = {}

    def install_hooks(self) -> None:
        """Teach serde what a handle is."""
        from manta.client.handles import ActorHandle, reduce_handle
        from manta.client.refs import ObjectRef, reduce_ref
        from manta.serde import install_hooks

        install_hooks(ObjectRef, reduce_ref, ActorHandle, reduce_handle)

    def know(self, actor_id: bytes, class_name: str, *, counted: bool, ordered: bool) -> ActorClient:
        """The client of an actor, made and subscribed when it is new. Called under the lock."""
        client = self.by_id.get(actor_id)
        if client is None:
            client = self.by_id[actor_id] = ActorClient(actor_id, class_name, counted=counted, ordered=ordered)
            self._sequences += 1
            client.sequence = self._sequences
            self._session.raylet_send(pb.WatchActors(add=[actor_id]))
        client.handles += 1
        if self._unused:
            self._unused.pop(client, None)
        if len(gone) >= SWEEP:
            self._sweep()
        return client

    def _sweep(self) -> None:
        """Forget actors that this process has no handles of any more; some are kept, as tasks bring the same ones again."""
        while gone:
            client = gone.popleft()
            client.handles -= 1
            if not client.handles:
                self._unused[client] = None
        for client in list(self._unused):
            if client.busy or client.owned or self.by_id.get(client.actor_id) is not client:
                del self._unused[client]  # `_rest`, or the end of its handles elsewhere, may forget it
            elif client.cause is not None or len(self._unused) > SWEEP:
                del self._unused[client]
                self._forget(client)

    # -- creating

    def create(
        self, request: ctl.CreateActorRequest, extra: Extra, missing: Sequence[bytes], spec: pb.ActorSpec
    ) -> None:
        """Announce a new actor to control; its constructor's arguments may not be there yet. Called under the lock."""
        client = self.by_id[request.actor_id]

        def go() -> None:
            self._fill_spec(spec, extra)
            request.spec = spec.SerializeToString()
            self._created[request.actor_id] = request
            self._held[request.actor_id] = extra.held
            self._session.control_async("CreateActor", request, lambda frame: self._create_answered(client, frame))

        def failed(failure: Failure) -> None:
            self._died(client, failure)

        client.owned = client.counted
        if missing:
            waiting = Waiting(len(missing), go, failed)
            for oid in missing:
                self._session.watch(oid, waiting)
        else:
            go()

    def _fill_spec(self, spec: pb.ActorSpec, extra: Extra) -> None:
        holder = pb.TaskExtra()
        self._session.fill_extra(holder, 0, extra)
        spec.refs.extend(holder.refs)

    def _create_answered(self, client: ActorClient, frame: pb.ControlReply) -> None:
        if frame.HasField("error"):
            self._died(client, Failure(pb.TaskFailure(kind=pb.FAILURE_KIND_SYSTEM, error=frame.error)))
            return
        self.state_info(ctl.CreateActorResponse.FromString(frame.payload).actor)

    def create_named(
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
            self._fill_spec(spec, extra)
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
        self._named[request.actor_id] = answer.actor
        return None

    def named_created(self, actor_id: bytes, extra: Extra) -> None:
        """The handle of a named actor exists now: take over what control said of it."""
        with self._session.lock:
            client = self.by_id[actor_id]
            client.owned = client.counted
            info = self._named.pop(actor_id, None)
            if info is not None:
                self.state_info(info)

    def where(self, oid: bytes) -> str:
        """How far the call is whose first result this is, for people; empty when there is none. Called under the lock."""
        for client in self.by_id.values():
            record = client.inflight.get(oid)
            if record is not None:
                ahead = list(client.inflight).index(oid)
                pid = client.info.pid if client.info is not None else 0
                queued = f"behind {ahead} others " if ahead else ""
                return f"call {self._templates[record[1]].name}, {queued}with the actor of pid {pid}"
            for record in client.queue:
                if record[0] == oid:
                    why = (
                        "its argument"
                        if oid in client.waiting
                        else f"the actor, {ctl.ActorPhase.Name(client.phase)[12:]}"
                    )
                    return f"call {self._templates[record[1]].name}, waiting for {why}"
        return ""

    # -- calling

    def call(self, client: ActorClient, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method. Returns its ref, a list of refs, or None, as the template says."""
        session = self._session
        special = template.num_returns != 1
        if not special:
            for arg in args:
                if type(arg) is ObjectRef:
                    special = True
                    break
            else:
                for arg in kwargs.values():
                    if type(arg) is ObjectRef:
                        special = True
                        break
        if not special:
            serialized = serialize((args, kwargs))
            special = serialized.size > INLINE_BYTES or bool(serialized.refs) or bool(serialized.handles)
        if special:
            return self._call_special(client, template, args, kwargs)
        payload = to_bytes(serialized)
        oid = client.ids.next() + b"\1\0\0\0"
        if session.runs_tasks:
            session.note_child(oid)
        with session.lock:
            if session.broken is not None or session.closed:
                session.check()
            if client.max_pending > 0:
                self._check_pending(client)
            session.ownership.counts[oid] = 1
            look = self._enqueue(client, (oid, template.number, payload))
        if look:
            session.pump.poll_once()
        return make_ref(oid)

    def _check_pending(self, client: ActorClient) -> None:
        if len(client.queue) + len(client.inflight) >= client.max_pending:
            raise errors.PendingCallsLimitExceeded(
                f"The task {client.class_name} could not be submitted to the actor because more than "
                f"{client.max_pending} tasks are queued on it (max_pending_calls)."
            )

    def _call_special(
        self, client: ActorClient, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        session = self._session
        extra = Extra()
        payload, missing = session.prepare(args, kwargs, extra)
        task_id = client.ids.next()
        oid = task_id + b"\1\0\0\0"
        if session.runs_tasks:
            session.note_child(oid)
        count = template.num_returns
        result: Any = None
        with session.lock:
            session.check()
            if client.max_pending > 0:
                self._check_pending(client)
            oids = [task_id + (number + 1).to_bytes(4, "little") for number in range(max(count, 0))]
            for one in oids:
                session.ownership.counts[one] = 1
            if count == -1:
                from manta.client.generators import open_stream

                result = open_stream(session, task_id, extra, template.definition.backpressure)
            if extra.held or extra.stream is not None:
                self._extras[oid] = extra
            record = (oid, template.number, payload)
            if missing and client.cause is None:
                client.waiting.add(oid)

                def go() -> None:
                    client.waiting.discard(oid)
                    self._dirty.add(client)
                    session.pump.schedule(0.0)

                def failed(failure: Failure) -> None:
                    client.waiting.discard(oid)
                    self._argument_failed(client, record, failure)

                waiting = Waiting(len(set(missing)), go, failed)
                self._enqueue(client, record)
                for one in set(missing):
                    session.watch(one, waiting)
            else:
                self._enqueue(client, record)
        if count == 1:
            return make_ref(oid)
        if count == 0:
            return None
        if count == -1:
            return result
        return [make_ref(one) for one in oids]

    def _enqueue(self, client: ActorClient, record: Record) -> bool:
        if client.cause is not None:
            self._finish_failed(record, client.cause)
            return False
        if not client.busy:
            client.busy = True
            if client.counted:
                self._ownership.add(client.handle)
        client.queue.append(record)
        if not client.inflight and client.link is not None:
            self._push(client)
            return False
        self._dirty.add(client)
        self._gathered += 1
        if self._gathered >= GATHER:
            self._gathered = 0
            self._push(client)
            return True
        if self._gather_due is None:
            self._gather_due = self._session.now() + GATHER_S
            self._session.pump.schedule(self._gather_due)
        return False

    def _push(self, client: ActorClient) -> None:
        self._dirty.discard(client)
        link = client.link
        queue = client.queue
        if link is None or not queue:
            return
        templates = self._templates
        extras = self._extras
        told = link.templates
        waiting = client.waiting
        inflight = client.inflight
        put_back: list[Record] = []
        while queue:
            ids: list[bytes] = []
            numbers: list[int] = []
            args: list[bytes] = []
            special: list[tuple[int, Extra]] = []
            new: list[bytes] = []
            size = 0
            while queue and len(ids) < BATCH_CALLS and size < BATCH_BYTES:
                record = queue[0]
                oid, number, payload = record
                if waiting and oid in waiting:
                    if client.ordered:
                        break
                    put_back.append(queue.popleft())
                    continue
                queue.popleft()
                if extras:
                    extra = extras.get(oid)
                    if extra is not None:
                        special.append((len(ids), extra))
                if number not in told:
                    told[number] = True
                    new.append(encode(templates[number].definition))
                inflight[oid] = record
                ids.append(oid)
                numbers.append(number)
                args.append(payload)
                size += len(payload)
            if not ids:
                break
            message = pb.PushCalls(
                actor_id=client.actor_id,
                incarnation=client.incarnation,
                sequence=client.sequence,
                first=client.next_number,
                ids=b"".join(ids),
                args=args,
            )
            client.next_number += len(ids)
            if numbers.count(numbers[0]) == len(numbers):
                message.templates.append(numbers[0])
            else:
                message.templates.extend(numbers)
            for index, extra in special:
                self._session.fill_extra(message.extras.add(), index, extra)
            new.append(encode(message))
            self._session.send_bytes(link, b"".join(new) if len(new) > 1 else new[0])
        if put_back:
            queue.extendleft(reversed(put_back))

    def flush(self) -> None:
        """Push whatever was gathered."""
        self._gather_due = None
        self._gathered = 0
        while self._dirty:
            self._push(self._dirty.pop())

    def tick(self, now: float) -> float | None:
        """Timers; when to be called again."""
        if self._dirty and (self._gather_due is None or now >= self._gather_due):
            self.flush()
        return self._gather_due

    # -- results

    def results(self, link: Link, frame: pb.TaskResults) -> None:
        """An actor finished some calls."""
        client = self._by_worker.get(link.worker_id)
        if client is None:
            return
        ids: bytes = frame.ids
        extras = {extra.index: extra for extra in frame.extras} if frame.extras else None
        ownership = self._ownership
        counts = ownership.counts
        known = self._values.known
        watchers = self._values.watchers
        inflight = client.inflight
        own_extras = self._extras
        at = 0
        for index, value in enumerate(list(frame.values)):
            oid = ids[at : at + 28]
            at += 28
            record = inflight.pop(oid, None)
            if record is None:
                continue
            if extras is not None and index in extras:
                self._result_extra(client, link, record, extras[index])
                continue
            if oid in counts or oid in ownership.borrowers:
                known[oid] = value
                if watchers and oid in watchers:
                    self._values.set(oid, value)
            if own_extras and oid in own_extras:
                ownership.drop_many(own_extras.pop(oid).held)
        if not inflight:
            self._rest(client)

    def _rest(self, client: ActorClient) -> None:
        """No call is with the actor: push what gathered, or let go of the handle."""
        if client.queue:
            self._push(client)
        elif not client.inflight and client.busy:
            client.busy = False
            if not client.handles:
                self._unused[client] = None
            if client.counted:
                self._ownership.drop(client.handle)
                self._session.perform()

    def _result_extra(self, client: ActorClient, link: Link, record: Record, result: pb.ResultExtra) -> None:
        oid = record[0]
        template = self._templates[record[1]]
        for borrowed in result.borrowed:
            self._ownership.add_borrower(borrowed, link.worker_id)
        if result.HasField("failure"):
            failure = result.failure
            extra = self._extras.get(oid)
            attempt = extra.attempt if extra else 0
            if failure.retry and (template.max_retries < 0 or attempt < template.max_retries):
                self._again(client, record)
                return
            self._finish_failed(record, Failure(failure))
            return
        extra = self._extras.pop(oid, None)
        if template.num_returns == -1 and extra is not None and extra.stream is not None:
            extra.stream.ended(result.stream_length)
        for number, value in enumerate(result.returns):
            self._session.store_return(oid if not number else oid[:24] + (number + 1).to_bytes(4, "little"), value)
        if extra is not None:
            self._ownership.drop_many(extra.held)

    def _again(self, client: ActorClient, record: Record) -> None:
        extra = self._extras.get(record[0])
        if extra is None:
            extra = self._extras[record[0]] = Extra()
        extra.attempt += 1
        client.queue.append(record)
        self._dirty.add(client)
        self._session.pump.schedule(0.0)

    def _argument_failed(self, client: ActorClient, record: Record, failure: Failure) -> None:
        name = self._templates[record[1]].name
        failure = failures.of_argument(failure, name, self._session.pid, self._session.welcome.node_ip)
        try:
            client.queue.remove(record)
        except ValueError:
            pass
        self._finish_failed(record, failure)
        self._dirty.add(client)
        self._rest(client)

    def _finish_failed(self, record: Record, failure: Failure) -> None:
        oid, number, _ = record
        template = self._templates[number]
        extra = self._extras.pop(oid, None)
        if template.num_returns == -1:
            if extra is not None and extra.stream is not None:
                extra.stream.failed(failure)
        else:
            for index in range(max(1, template.num_returns)):
                ref = oid if not index else oid[:24] + (index + 1).to_bytes(4, "little")
                if self._ownership.alive(ref):
                    self._values.set(ref, failure)
        if extra is not None:
            self._ownership.drop_many(extra.held)

    # -- states

    def state(self, info: bytes) -> None:
        """Control says how an actor is."""
        self.state_info(ctl.ActorInfo.FromString(info))

    def state_info(self, info: ctl.ActorInfo) -> None:
        """Control says how an actor is."""
        client = self.by_id.get(info.actor_id)
        if client is None or client.phase == ctl.ACTOR_PHASE_DEAD:
            return
        if info.state == ctl.ACTOR_PHASE_UNSPECIFIED:
            self._announce(client)
            return
        if info.incarnation < client.incarnation:
            return
        client.info = info
        client.phase = info.state
        if info.state in (ctl.ACTOR_PHASE_ALIVE, ctl.ACTOR_PHASE_DEAD) and not info.max_restarts:
            held = self._held.pop(info.actor_id, None)
            if held:
                self._ownership.drop_many(held)
                self._session.perform()
        if info.state == ctl.ACTOR_PHASE_ALIVE:
            if client.link is None or client.incarnation != info.incarnation:
                self._alive(client, info)
        elif info.state == ctl.ACTOR_PHASE_RESTARTING:
            self._interrupted(client)
        elif info.state == ctl.ACTOR_PHASE_DEAD:
            self._died(client, death_of(info))
        if info.waiting_reason.startswith(INFEASIBLE) and client.owned:
            self._infeasible(client, info.waiting_reason.removeprefix(INFEASIBLE))

    def _infeasible(self, client: ActorClient, reason: str) -> None:
        """No node can ever take it. It waits for one that can, or fails, as the environment says."""
        text = f"the actor '{client.class_name}' fits on no node: {reason}"
        if setting("enable_infeasible_task_early_exit"):
            self._died(client, failures.system(errors.ActorUnschedulableError(text)))
            request = ctl.KillActorRequest(request_id=os.urandom(16), actor_id=client.actor_id, no_restart=True)
            self._session.control_async("KillActor", request, lambda frame: None)
        elif not client.told:
            client.told = True
            self._session.on_infeasible(f"{text}. It waits until a node joins that can; ask for less, or kill it.")

    def _announce(self, client: ActorClient) -> None:
        """Control was replaced: say again what it may have forgotten. Named and detached actors are in its store."""
        request = self._created.get(client.actor_id)
        if request is None:
            return
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
        self._session.control_async("CreateActor", again, lambda frame: self._create_answered(client, frame))

    def _alive(self, client: ActorClient, info: ctl.ActorInfo) -> None:
        if client.link is not None or info.incarnation != client.incarnation:
            # Also when nobody told of the restart between two lives.
            self._interrupted(client)
        link = self._session.links.peer(info.address.worker_id, info.address.endpoint)
        client.incarnation = info.incarnation
        client.next_number = 0
        if link is None:
            return  # it died already; control will say so
        client.link = link
        self._by_worker[link.worker_id] = client
        self._push(client)

    def _interrupted(self, client: ActorClient) -> None:
        """This life of the actor is over, another will follow: calls under way may or may not have run."""
        if client.link is not None:
            self._by_worker.pop(client.link.worker_id, None)
            client.link = None
        again: list[Record] = []
        for record in list(client.inflight.values()):
            template = self._templates[record[1]]
            extra = self._extras.get(record[0])
            attempt = extra.attempt if extra is not None else 0
            if template.max_retries < 0 or attempt < template.max_retries:
                if extra is None:
                    extra = self._extras[record[0]] = Extra()
                extra.attempt += 1
                again.append(record)
            else:
                self._finish_failed(record, failures.actor_unavailable(client.actor_id, client.class_name))
        client.inflight.clear()
        client.queue.extendleft(reversed(again))
        if not client.queue:
            self._rest(client)
        self._session.perform()

    def _died(self, client: ActorClient, failure: Failure) -> None:
        client.phase = ctl.ACTOR_PHASE_DEAD
        client.cause = failure
        self._created.pop(client.actor_id, None)
        if client.link is not None:
            self._by_worker.pop(client.link.worker_id, None)
            client.link = None
        lost = [*client.inflight.values(), *client.queue]
        client.inflight.clear()
        client.queue.clear()
        client.waiting.clear()
        for record in lost:
            self._finish_failed(record, failure)
        self._rest(client)
        self._session.perform()

    def peer_lost(self, link: Link) -> None:
        """The connection to a worker ended; control will say what became of its actor."""
        client = self._by_worker.pop(link.worker_id, None)
        if client is not None and client.link is link:
            client.link = None

    def worker_died(self, frame: pb.WorkerDied) -> None:
        """A leased worker died: no actor."""

    def kill(self, client: ActorClient, *, no_restart: bool) -> None:
        """Ask control to kill it. Calls from here on see it dead, or in its next life, and never the one being killed."""
        if client.phase == ctl.ACTOR_PHASE_DEAD:
            return
        if client.link is not None:
            self._by_worker.pop(client.link.worker_id, None)
            client.link = None
        request = ctl.KillActorRequest(request_id=os.urandom(16), actor_id=client.actor_id, no_restart=no_restart)
        self._session.control_async("KillActor", request, lambda frame: None)

    # -- the end of handles

    def handle_freed(self, oid: bytes) -> None:
        """Nobody refers to an owned actor any more: it finishes what it has and leaves."""
        actor_id = oid[8:24]
        client = self.by_id.get(actor_id)
        if client is None or client.handle != oid:
            return
        self._created.pop(actor_id, None)
        self._session.control_async(
            "ReleaseActor", ctl.ReleaseActorRequest(request_id=os.urandom(16), actor_id=actor_id), lambda frame: None
        )
        # No call is under way, or the handle would be held. Handles found by name may still be there, and nobody tells them.
        death = errors.ActorDeath(
            actor_id.hex(), client.class_name, OUT_OF_SCOPE, pid=client.info.pid if client.info is not None else 0
        )
        self._died(client, failures.system(errors.ActorDiedError(death)))
        self._forget(client)

    def _forget(self, client: ActorClient) -> None:
        client.owned = False
        self.by_id.pop(client.actor_id, None)
        if client.link is not None:
            self._by_worker.pop(client.link.worker_id, None)
        self._session.raylet_send(pb.WatchActors(remove=[client.actor_id]))

    # -- cancelling

    def under_way(self) -> set[bytes]:
        """Calls that are not over, by id of their first result."""
        found: set[bytes] = set()
        for client in self.by_id.values():
            found.update(client.inflight)
            found.update(record[0] for record in client.queue)
        return found

    def cancel(self, oid: bytes, *, force: bool, recursive: bool) -> bool:
        """Cancel a call; False when no actor has it."""
        client = self.by_id.get(oid[8:24])
        if client is None:
            return False
        if force:
            raise ValueError("force=True is not supported for actor tasks; kill the actor with kill(handle) instead.")
        for record in client.queue:
            if record[0] == oid:
                client.queue.remove(record)
                client.waiting.discard(oid)
                name = self._templates[record[1]].name
                self._finish_failed(record, failures.cancelled(name, oid))
                self._rest(client)
                return True
        if oid in client.inflight and client.link is not None:
            self._session.send(client.link, pb.CancelTask(task_id=oid[:24], recursive=recursive))
            return True
        return False


def death_of(info: ctl.ActorInfo) -> Failure:
    """The failure of every call of an actor that is dead."""
    cause = info.death_cause
    raised = cause.error.blobs.get("failure")
    if raised:
        return failures.constructor_raised(pb.TaskFailure.FromString(raised))
    death = errors.ActorDeath(
        info.actor_id.hex(),
        info.class_name,
        cause.message,
        pid=info.pid,
        name=info.name,
        ray_namespace=info.namespace if info.name else "",
        never_started=not info.pid and not info.num_restarts and not info.incarnation,
    )
    return failures.system(errors.ActorDiedError(death))
