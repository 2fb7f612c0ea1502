"""Tasks on their way: submitted, waiting for arguments, finished, retried, cancelled.

One `Submitter` per process. Everything here runs under the process's lock and never blocks. Arguments are pickled already: what
users call is in `calling`. The submit and result paths are flat: one record per task, made of bytes and an int, columns instead
of messages (benchmarks: tasks pipelined; each avoided call is 2-3 % of that row). Which worker gets what is in `leasing`.
"""

from __future__ import annotations

from itertools import islice

from manta.client import failures
from manta.client.arguments import Extra
from manta.client.leasing import Leasing
from manta.client.running import running
from manta.client.values import Failure
from manta.core.resources import show
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from manta.client.direct import DirectSession
    from manta.client.lease import Lease, Record
    from manta.client.templates import Template

#: Submits that gather before the pipe is looked at again. The first on an idle pipe goes out at once.
GATHER = 32

#: And how long they gather at most.
GATHER_S = 0.001


class Waiting:
    """A task whose arguments are not all there."""

    __slots__ = ("_failed", "_go", "missing")

    def __init__(self, missing: int, go: Callable[[], None], failed: Callable[[Failure], None]) -> None:
        self.missing = missing
        self._go = go
        self._failed = failed

    def give_up(self) -> None:
        """The task is over: what comes now is of no use."""
        self.missing = 0

    def ready(self, oid: bytes, value: object) -> None:
        """One argument is there."""
        if self.missing <= 0:
            return
        if type(value) is Failure:
            self.missing = 0
            self._failed(value)
            return
        self.missing -= 1
        if not self.missing:
            self._go()


class Submitter:
    """The owner's side of tasks."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self._values = session.values
        self._ownership = session.ownership
        self._counts = session.ownership.counts
        self._templates = session.templates.all
        self._keys = session.templates.keys
        self.leasing = Leasing(session, self)
        self._leases = self.leasing.leases
        self._dirty = self.leasing.dirty
        self._push = self.leasing.push
        #: What only some tasks have, by id of their first result.
        self.extras: dict[bytes, Extra] = {}
        #: Tasks whose arguments are not all there, by id of their first result.
        self._waiting: dict[bytes, tuple[Record, Waiting]] = {}
        self._gathered = 0
        #: When what has gathered goes out, monotonic seconds.
        self.gather_due: float | None = None
        #: Tasks submitted and not over.
        self.unfinished = 0

    # -- submitting

    def enter(
        self, template: Template, task_id: bytes, payload: bytes, extra: Extra, missing: Iterable[bytes]
    ) -> list[bytes]:
        """A task that is not plain is on its way: it has several results, a stream, refs or large values.

        Returns:
            Ids of its results, counted once each; a stream is in `extra`.
        """
        oid = task_id + b"\1\0\0\0"
        oids = [task_id + (number + 1).to_bytes(4, "little") for number in range(max(template.num_returns, 0))]
        for one in oids:
            self._counts[one] = 1
        if template.num_returns == -1:
            self._session.open_stream(task_id, extra, template.definition.backpressure)
        self.unfinished += 1
        if extra.held or extra.stream is not None:
            self.extras[oid] = extra
        record = (oid, template.number, payload)
        if missing:
            self._submit_waiting(template, record, set(missing))
        else:
            self.enqueue(template, record)
        return oids

    def note_child(self, oid: bytes) -> None:
        """A task or call was submitted by what runs in this thread, so that cancelling that can cancel this too."""
        now = running.get()
        if now is None:
            return
        children = now.children
        if children is None:
            now.children = [oid]
            return
        children.append(oid)
        if len(children) >= now.prune_at:
            session = self._session
            with session.lock:
                under_way = self.under_way() | session.actors.calls.under_way()
                children[:] = [one for one in children if one in under_way]
            now.prune_at = max(1024, 2 * len(children))

    def enqueue(self, template: Template, record: Record) -> bool:
        """A task is ready to run: it goes out at once if a worker is free, else it gathers.

        Returns:
            True when the caller should look at the sockets; under the lock it may not.
        """
        key = template.key
        assert key is not None
        pending = key.pending
        pending.append(record)
        self._gathered += 1
        if self._gathered >= GATHER:
            self._gathered = 0
            self._push(key)
            return True
        for lease in key.leases.values():
            if not lease.inflight and lease.pushable:
                self._push(key)
                return False
        if not key.leases:
            self.leasing.demand(key)
        if self.gather_due is None:
            self.gather_due = self._session.now() + GATHER_S
            self._session.pump.schedule(self.gather_due)
        self._dirty.add(key)
        return False

    def _submit_waiting(self, template: Template, record: Record, missing: Iterable[bytes]) -> None:
        """A task with arguments that are not there yet."""
        wanted = list(missing)

        def go() -> None:
            self._requeue(template, record)

        def failed(failure: Failure) -> None:
            del self._waiting[record[0]]
            self._dependency_failed(template, record, failure)

        waiting = Waiting(len(wanted), go, failed)
        self._waiting[record[0]] = (record, waiting)
        for oid in wanted:
            self._session.watch(oid, waiting)

    def _requeue(self, template: Template, record: Record) -> None:
        key = template.key
        assert key is not None
        del self._waiting[record[0]]
        key.pending.append(record)
        self._dirty.add(key)
        self._session.pump.schedule(0.0)

    def flush(self) -> None:
        """Push whatever can be pushed: somebody waits for something."""
        self.gather_due = None
        self._gathered = 0
        while self._dirty:
            self._push(self._dirty.pop())

    # -- results

    def results(self, lease: Lease, frame: pb.TaskResults) -> None:
        """A worker finished some tasks."""
        ids: bytes = frame.ids
        values = list(frame.values)
        micros = list(frame.micros)
        extras = {extra.index: extra for extra in frame.extras} if frame.extras else None
        ownership = self._ownership
        counts = ownership.counts
        known = self._values.known
        watchers = self._values.watchers
        inflight = lease.inflight
        templates = self._templates
        own_extras = self.extras
        at = 0
        for index, value in enumerate(values):
            oid = ids[at : at + 28]
            at += 28
            entry = inflight.pop(oid, None)
            if entry is None:
                continue
            record, expected = entry
            lease.queued_us -= expected
            template = templates[record[1]]
            template.estimate.add(micros[index])
            if extras is not None and index in extras:
                self._result_extra(record, template, extras[index], lease)
                continue
            self.unfinished -= 1
            if oid in counts or oid in ownership.borrowers:
                known[oid] = value
                if watchers and oid in watchers:
                    self._values.set(oid, value)
            if own_extras and oid in own_extras:
                ownership.drop_many(own_extras.pop(oid).held)
        lease.blocked = False
        lease.progress_at = 0.0
        key = lease.key
        if lease.draining and not inflight and not lease.taking_back:
            self.leasing.give_back(lease)
        elif key.pending:
            self._dirty.add(key)
        elif not inflight:
            lease.idle_since = self._session.now()
            self.leasing.steal_for(lease)

    def _result_extra(self, record: Record, template: Template, result: pb.ResultExtra, lease: Lease) -> None:
        """A result that is not one small value."""
        oid = record[0]
        for borrowed in result.borrowed:
            self._ownership.add_borrower(borrowed, lease.worker_id)
        if result.last_call:
            lease.draining = lease.retiring = True
            self.leasing.recover_tail(lease, len(lease.inflight))
        if result.HasField("failure"):
            failure = result.failure
            extra = self.extras.get(oid)
            attempt = extra.attempt if extra else 0
            if (
                failure.retry
                and not (extra is not None and extra.cancelled)
                and (template.max_retries < 0 or attempt < template.max_retries)
            ):
                self._retry(record, extra, counted=True)
                return
            self.finish_failed(record, Failure(failure))
            return
        self.unfinished -= 1
        self.fill_results(record, template, result)

    def fill_results(self, record: Record, template: Template, result: pb.ResultExtra) -> None:
        """A task or call returned: what its refs stand for is here, or known to be somewhere."""
        oid = record[0]
        extra = self.extras.pop(oid, None)
        if template.num_returns == -1 and extra is not None and extra.stream is not None:
            extra.stream.ended(result.stream_length)
        for number, value in enumerate(result.returns):
            self._session.store_return(nth(oid, number), value)
        if extra is not None:
            self._ownership.drop_many(extra.held)

    def _dependency_failed(self, template: Template, record: Record, failure: Failure) -> None:
        session = self._session
        self.finish_failed(record, failures.of_argument(failure, template.name, session.pid, session.welcome.node_ip))

    def finish_failed(self, record: Record, failure: Failure) -> None:
        """A task is over and has no value: every ref it should have filled gets the failure."""
        self.unfinished -= 1
        self.fail_results(record, failure)

    def fail_results(self, record: Record, failure: Failure) -> None:
        """A task or call has no value: every ref it should have filled gets the failure."""
        oid, number, _ = record
        template = self._templates[number]
        extra = self.extras.pop(oid, None)
        if template.num_returns == -1:
            if extra is not None and extra.stream is not None:
                extra.stream.failed(failure)
        else:
            for index in range(max(1, template.num_returns)):
                ref = nth(oid, index)
                if self._ownership.alive(ref):
                    self._values.set(ref, failure)
        self._session.reporter.lost(oid, template.name, extra.attempt if extra is not None else 0, failure.fields)
        if extra is not None:
            self._ownership.drop_many(extra.held)

    def system_failure(self, record: Record, frame: pb.WorkerDied) -> None:
        """The worker died while the task may have run: a retry, or the failure."""
        oid, number, _ = record
        template = self._templates[number]
        extra = self.extras.get(oid)
        if extra is not None and extra.cancelled:
            self.finish_failed(record, failures.cancelled(template.name, oid))
            return
        if frame.out_of_memory and template.max_retries != 0:
            self._retry(record, extra, counted=False)
        elif template.max_retries < 0 or (extra.attempt if extra else 0) < template.max_retries:
            self._retry(record, extra, counted=True)
        elif frame.out_of_memory:
            self.finish_failed(record, failures.out_of_memory(template.name, frame.cause))
        elif frame.node_died:
            self.finish_failed(record, failures.node_died(template.name, oid, frame.cause))
        else:
            self.finish_failed(record, failures.worker_crashed(template.name, frame.cause))

    def _retry(self, record: Record, extra: Extra | None, *, counted: bool) -> None:
        if extra is None:
            extra = self.extras[record[0]] = Extra()
        if counted:
            extra.attempt += 1
        template = self._templates[record[1]]
        assert template.key is not None
        template.key.pending.append(record)
        self._dirty.add(template.key)
        self._session.pump.schedule(0.0)

    # -- cancelling

    def cancel(self, oid: bytes, *, force: bool, recursive: bool) -> bool:
        """Cancel the task whose first result is `oid`; False when it is not here any more."""
        for key in self._keys:
            for record in key.pending:
                if record[0] == oid:
                    key.pending.remove(record)
                    self.finish_failed(record, failures.cancelled(self._templates[record[1]].name, oid))
                    return True
        for lease in self._leases.values():
            entry = lease.inflight.get(oid)
            if entry is None:
                continue
            behind = list(lease.inflight)
            position = behind.index(oid)
            self.leasing.recover_tail(lease, len(behind) - position)
            if oid not in lease.inflight:
                return self.cancel(oid, force=force, recursive=recursive)
            self._extra(oid).cancelled = True
            if force:
                self.leasing.kill(lease)
            elif lease.connection is not None:
                self._session.send(lease.connection, pb.CancelTask(task_id=oid[:24], recursive=recursive))
            return True
        held_up = self._waiting.pop(oid, None)
        if held_up is not None:
            record, waiting = held_up
            waiting.give_up()
            for _, _, argument in self.extras[oid].refs:
                self._values.unwatch((argument,), waiting)
            self.finish_failed(record, failures.cancelled(self._templates[record[1]].name, oid))
            return True
        return False

    def by_state(self, most: int = 10_000) -> dict[pb.TaskState, list[tuple[bytes, str]]]:
        """Tasks under way: (first result, name), at most so many of each state, those that are next first."""
        templates = self._templates
        pending = [(record[0], templates[record[1]].name) for key in self._keys for record in islice(key.pending, most)]
        pushed = [
            (record[0], templates[record[1]].name)
            for lease in self._leases.values()
            for record, _ in islice(lease.inflight.values(), most)
        ]
        waiting = [(oid, templates[record[1]].name) for oid, (record, _) in islice(self._waiting.items(), most)]
        return {
            pb.TASK_STATE_PENDING_ARGS_AVAIL: waiting,
            pb.TASK_STATE_PENDING_NODE_ASSIGNMENT: pending[:most],
            pb.TASK_STATE_SUBMITTED_TO_WORKER: pushed[:most],
        }

    def attempts(self, oid: bytes) -> int:
        """Earlier attempts of a task under way."""
        extra = self.extras.get(oid)
        return extra.attempt if extra is not None else 0

    def under_way(self) -> set[bytes]:
        """Tasks that are not over, by id of their first result."""
        found = set(self._waiting)
        for key in self._keys:
            found.update(record[0] for record in key.pending)
        for lease in self._leases.values():
            found.update(lease.inflight)
        return found

    def _extra(self, oid: bytes) -> Extra:
        extra = self.extras.get(oid)
        if extra is None:
            extra = self.extras[oid] = Extra()
        return extra

    def where(self, oid: bytes) -> str:
        """How far the task is whose first result this is, for people; empty when there is none. Called under the lock."""
        for lease in self._leases.values():
            if oid in lease.inflight:
                ahead = list(lease.inflight).index(oid)
                name = self._templates[lease.inflight[oid][0][1]].name
                return f"task {name}, {f'behind {ahead} others ' if ahead else ''}with the worker of pid {lease.pid}"
        for key in self._keys:
            for ahead, record in enumerate(key.pending):
                if record[0] == oid:
                    needs = show(dict(key.message.resources.amounts))
                    name = self._templates[record[1]].name
                    return f"task {name}, {f'behind {ahead} others ' if ahead else ''}waiting for a worker with {needs}"
        extra = self.extras.get(oid)
        for _, _, argument in extra.refs if extra is not None else ():
            if argument not in self._values.known:
                return f"its task waits for its argument ObjectRef({argument.hex()}){self._session.where(argument)}"
        return ""

    def statistics(self) -> dict[str, int]:
        """Sizes, for status and leak checks."""
        return {
            "pending": sum(len(key.pending) for key in self._keys),
            "inflight": sum(len(lease.inflight) for lease in self._leases.values()),
            "leases": len(self._leases),
            "unfinished": self.unfinished,
        }


def nth(oid: bytes, number: int) -> bytes:
    """Id of a task's result number `number`, from 0."""
    return oid if not number else oid[:24] + (number + 1).to_bytes(4, "little")
