"""Calls of actors: ordered, fenced by incarnation.

Calls go straight to the actor's worker. All handles of an actor in one process share one order. While any call is under way the
handle is held, so that an actor never goes out of scope with calls that have not reached it. Flat, as `submit`.
"""

from __future__ import annotations

from itertools import chain, islice

from manta.client import failures
from manta.client.arguments import Extra
from manta.client.submit import GATHER, GATHER_S, Waiting
from manta.client.values import Failure
from manta.core import errors
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl
from manta.transport.channel import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from manta.client.actor_client import ActorClient
    from manta.client.actors import ActorClients
    from manta.client.direct import DirectSession
    from manta.client.lease import Record
    from manta.client.links import Link
    from manta.client.templates import Template

#: Bytes of calls in one frame.
BATCH_BYTES = 1 << 20
BATCH_CALLS = 512


class ActorCalls:
    """The calls this process makes of actors."""

    def __init__(self, session: DirectSession, actors: ActorClients) -> None:
        self._session = session
        self._ownership = session.ownership
        self._counts = session.ownership.counts
        self._values = session.values
        self._extras = session.submitter.extras
        self._finish_failed = session.submitter.fail_results
        self.note_child = session.submitter.note_child
        self._templates = session.templates.all
        self._by_id = actors.by_id
        self._by_worker = actors.by_worker
        self._unused = actors.unused
        self._dirty: set[ActorClient] = set()
        self._gathered = 0
        self._gather_due: float | None = None

    # -- calling

    def check_pending(self, client: ActorClient, name: str) -> None:
        """Raise PendingCallsLimitExceeded if no more calls may wait. Called under the lock."""
        if len(client.queue) + len(client.inflight) >= client.max_pending:
            raise errors.PendingCallsLimitExceeded(
                f"The task {name} could not be submitted to Actor({client.class_name}, {client.actor_id.hex()}) because more "
                f"than {client.max_pending} tasks are queued on the actor. This limit can be adjusted with the "
                "`max_pending_calls` actor option."
            )

    def enter(
        self,
        client: ActorClient,
        template: Template,
        task_id: bytes,
        payload: bytes,
        extra: Extra,
        missing: Iterable[bytes],
    ) -> list[bytes]:
        """As `Submitter.enter`, for a call."""
        session = self._session
        oid = task_id + b"\1\0\0\0"
        oids = [task_id + (number + 1).to_bytes(4, "little") for number in range(max(template.num_returns, 0))]
        for one in oids:
            self._counts[one] = 1
        if template.num_returns == -1:
            session.open_stream(task_id, extra, template.definition.backpressure)
        if extra.held or extra.stream is not None:
            self._extras[oid] = extra
        record = (oid, template.number, payload)
        if not missing or client.cause is not None:
            self.enqueue(client, record)
            return oids
        client.waiting.add(oid)

        def go() -> None:
            client.waiting.discard(oid)
            self._dirty.add(client)
            session.pump.schedule(0.0)

        def failed(failure: Failure) -> None:
            client.waiting.discard(oid)
            self._argument_failed(client, record, failure)

        wanted = set(missing)
        waiting = Waiting(len(wanted), go, failed)
        self.enqueue(client, record)
        for one in wanted:
            session.watch(one, waiting)
        return oids

    def enqueue(self, client: ActorClient, record: Record) -> bool:
        """As `Submitter.enqueue`."""
        if client.cause is not None:
            self._finish_failed(record, client.cause)
            return False
        if not client.busy:
            client.busy = True
            if client.counted:
                self._ownership.add(client.handle)
        client.queue.append(record)
        if not client.inflight and client.link is not None:
            self.push(client)
            return False
        self._dirty.add(client)
        self._gathered += 1
        if self._gathered >= GATHER:
            self._gathered = 0
            self.push(client)
            return True
        if self._gather_due is None:
            self._gather_due = self._session.now() + GATHER_S
            self._session.pump.schedule(self._gather_due)
        return False

    def push(self, client: ActorClient) -> None:
        """Send what waits for the actor, if it can be reached."""
        self._dirty.discard(client)
        link = client.link
        queue = client.queue
        if link is None or not queue or link.full:
            return
        templates = self._templates
        extras = self._extras
        told = link.told
        waiting = client.waiting
        inflight = client.inflight
        put_back: list[Record] = []
        while queue and not link.full:
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
                        if extra.refs:
                            size += self._session.arguments.inline_bytes(extra)
                if number not in told:
                    told.add(number)
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

    def drained(self, link: Link) -> None:
        """Whoever did not read on that link has read."""
        client = self._by_worker.get(link.worker_id)
        if client is not None and client.link is link:
            self.push(client)

    def flush(self) -> None:
        """Push whatever was gathered."""
        self._gather_due = None
        self._gathered = 0
        while self._dirty:
            self.push(self._dirty.pop())

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
            self.rest(client)

    def rest(self, client: ActorClient) -> None:
        """No call is with the actor: push what gathered, or let go of the handle."""
        if client.queue:
            self.push(client)
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
        self._session.submitter.fill_results(record, template, result)

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
        self.rest(client)

    # -- another connection to the same life

    def fail_streams(self, client: ActorClient) -> None:
        """The connection broke: items of streams that are under way are lost, and what comes of them now is not whole."""
        for record in client.inflight.values():
            extra = self._extras.get(record[0])
            if extra is not None and extra.stream is not None:
                extra.stream.failed(failures.result_lost(client.actor_id, client.class_name))
                extra.stream = None

    def resumed(self, client: ActorClient, link: Link, expected: int, known: set[bytes]) -> None:
        """The actor, reached again, expects the call of that number next, and these are not over."""
        client.link = link
        inflight = client.inflight
        arrived = len(inflight) - (client.next_number - expected)
        again: list[Record] = []
        for place, record in enumerate(list(inflight.values())):
            if self._templates[record[1]].num_returns == -1 or (place < arrived and record[0] not in known):
                del inflight[record[0]]
                self._finish_failed(record, failures.result_lost(client.actor_id, client.class_name))
            elif place >= arrived:
                del inflight[record[0]]
                again.append(record)
        client.queue.extendleft(reversed(again))
        client.next_number = expected
        self.push(client)
        if not inflight:
            self.rest(client)
        self._session.perform()

    # -- the end of a life

    def interrupted(self, client: ActorClient) -> None:
        """This life of the actor is over, another will follow: calls under way may or may not have run."""
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
            self.rest(client)

    def fail(self, client: ActorClient, failure: Failure) -> None:
        """The actor is dead: so are all its calls."""
        lost = [*client.inflight.values(), *client.queue]
        client.inflight.clear()
        client.queue.clear()
        client.waiting.clear()
        for record in lost:
            self._finish_failed(record, failure)
        self.rest(client)

    # -- cancelling

    def names_under_way(self, most: int) -> list[tuple[bytes, str]]:
        """At most so many calls that are not over: (first result, name)."""
        records = (
            record for client in self._by_id.values() for record in chain(client.inflight.values(), client.queue)
        )
        return [(record[0], self._templates[record[1]].name) for record in islice(records, most)]

    def under_way(self) -> set[bytes]:
        """Calls that are not over, by id of their first result."""
        found: set[bytes] = set()
        for client in self._by_id.values():
            found.update(client.inflight)
            found.update(record[0] for record in client.queue)
        return found

    def cancel(self, oid: bytes, *, force: bool, recursive: bool) -> bool:
        """Cancel a call; False when no actor has it."""
        client = self._by_id.get(oid[8:24])
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
                self.rest(client)
                return True
        if oid in client.inflight and client.link is not None:
            self._session.send(client.link, pb.CancelTask(task_id=oid[:24], recursive=recursive))
            return True
        return False

    def where(self, oid: bytes) -> str:
        """How far the call is whose first result this is, for people; empty when there is none. Called under the lock."""
        for client in self._by_id.values():
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
