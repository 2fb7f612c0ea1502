"""Tasks on their way: scheduling keys, leases, pipelining, results, retries.

One `Submitter` per process. Everything here runs under the process's lock and never blocks; frames leave through connections
that queue what the kernel does not take. The submit and result paths are flat: one record per task, made of bytes and an int,
columns instead of messages (benchmarks: tasks pipelined; each avoided call is 2-3 % of that row).
"""

from __future__ import annotations

import logging
from collections import deque

from manta.client.lease import (
    BATCH_BYTES,
    BATCH_TASKS,
    Estimate,
    Lease,
    Record,
    Tokens,
    wanted_leases,
)
from manta.client.values import Failure
from manta.core import errors
from manta.core.environment import setting
from manta.core.resources import show
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from manta.client.direct import DirectSession

log = logging.getLogger(__name__)

#: A lease with nothing to do is given back after this long.
IDLE_LEASE_S = 0.5

#: Submits that gather before the pipe is looked at again. The first on an idle pipe goes out at once.
GATHER = 32

#: And how long they gather at most.
GATHER_S = 0.001

#: A worker with more than one task that has sent nothing for so long runs one that takes longer than was expected: the tasks
#: behind it go elsewhere. Several times what may be queued, so that a busy machine is not taken for a long task.
STALL_S = 0.02


class SchedulingKey:
    """Tasks that can use each other's leases: same resources, same strategy, same environment."""

    __slots__ = ("backlog_at", "demand_sent", "leases", "message", "name", "number", "pending")

    def __init__(self, number: int, message: pb.LeaseDemand) -> None:
        self.number = number
        #: The demand as it is sent, but for its counts.
        self.message = message
        self.pending: deque[Record] = deque()
        self.leases: dict[int, Lease] = {}
        #: `wanted` as last sent.
        self.demand_sent = 0


class Template:
    """What is the same for all calls of one function with the same options."""

    __slots__ = (
        "definition",
        "estimate",
        "function_blob",
        "function_hash",
        "key",
        "max_retries",
        "name",
        "num_returns",
        "number",
    )

    def __init__(
        self,
        number: int,
        definition: pb.DefineTemplate,
        key: SchedulingKey | None,
        *,
        max_retries: int,
        function_blob: bytes = b"",
    ) -> None:
        #: Its number within this process.
        self.number = number
        #: As workers are told.
        self.definition = definition
        self.name: str = definition.name
        #: Scheduling key; None for actor methods.
        self.key = key
        #: Attempts after the first; -1 for ever.
        self.max_retries = max_retries
        self.num_returns: int = definition.num_returns
        self.function_hash: bytes = definition.function_hash
        self.function_blob = function_blob
        self.estimate = Estimate()


class Extra:
    """What only some tasks have."""

    __slots__ = ("attempt", "cancelled", "held", "refs", "stream")

    def __init__(self) -> None:
        #: Arguments that are objects: (position, keyword, id).
        self.refs: Sequence[tuple[int, str, bytes]] = ()
        #: Objects counted while the task is not over.
        self.held: Sequence[bytes] = ()
        #: Attempts before this one.
        self.attempt = 0
        self.cancelled = False
        #: Reader of its stream, for generators.
        self.stream: Any = None


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
        self._keys: dict[bytes, SchedulingKey] = {}
        self._by_number: list[SchedulingKey] = []
        self._templates: list[Template] = []
        self._same: dict[tuple[bytes, int, int], Template] = {}
        self._leases: dict[int, Lease] = {}
        #: What only some tasks have, by id of their first result.
        self.extras: dict[bytes, Extra] = {}
        #: Tasks whose arguments are not all there, by id of their first result.
        self._waiting: dict[bytes, tuple[Record, Waiting]] = {}
        self._dirty: set[SchedulingKey] = set()
        self._gathered = 0
        self._gather_due: float | None = None
        #: Tasks submitted and not over.
        self.unfinished = 0

    # -- templates

    def key_for(self, identity: bytes, message: pb.LeaseDemand) -> SchedulingKey:
        """The scheduling key of that identity."""
        key = self._keys.get(identity)
        if key is None:
            key = SchedulingKey(len(self._by_number), message)
            message.key = key.number
            self._keys[identity] = key
            self._by_number.append(key)
        return key

    def add_template(
        self, definition: pb.DefineTemplate, key: SchedulingKey | None, *, max_retries: int, function_blob: bytes = b""
    ) -> Template:
        """The number of a template; one that says the same as another has its number.

        Programs say `f.options(...)` and unpickle handles in loops: here and in workers templates stay as few as they differ.
        """
        definition.ClearField("number")
        identity = (definition.SerializeToString(deterministic=True), -1 if key is None else key.number, max_retries)
        template = self._same.get(identity)
        if template is None:
            definition.number = len(self._templates)
            template = Template(
                definition.number, definition, key, max_retries=max_retries, function_blob=function_blob
            )
            self._templates.append(template)
            self._same[identity] = template
        return template

    # -- submitting

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
            self._demand(key)
        if self._gather_due is None:
            self._gather_due = self._session.now() + GATHER_S
            self._session.pump.schedule(self._gather_due)
        self._dirty.add(key)
        return False

    def submit_waiting(self, template: Template, record: Record, missing: Iterable[bytes]) -> None:
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
        self._gather_due = None
        self._gathered = 0
        while self._dirty:
            self._push(self._dirty.pop())

    def tick(self, now: float) -> float | None:
        """Timers: gathered submits, idle leases. Returns when to be called again."""
        due = self._gather_due
        if self._dirty and (due is None or now >= due):
            self.flush()
            due = None
        for lease in list(self._leases.values()):
            if len(lease.inflight) > 1 and not lease.blocked:
                if not lease.progress_at:
                    lease.progress_at = now
                end = lease.progress_at + STALL_S
                if now >= end:
                    self.blocked(lease.lease_id)
                elif due is None or end < due:
                    due = end
                continue
            if lease.inflight or lease.key.pending or lease.connection is None:
                continue
            end = lease.idle_since + (0.0 if lease.draining else IDLE_LEASE_S)
            if now >= end:
                self._return(lease)
            elif due is None or end < due:
                due = end
        return due

    def _demand(self, key: SchedulingKey) -> None:
        """Tell the raylet how many workers would help, when that has changed enough to matter."""
        pending = key.pending
        held = len(key.leases)
        if pending:
            expected = self._templates[pending[0][1]].estimate.us
            wanted = held + wanted_leases(len(pending), expected)
        else:
            wanted = held
        sent = key.demand_sent
        if wanted > sent or (wanted < sent and not pending):
            # Growing demands are said in steps: a loop of submits would send one frame each. Only while leases are owed: with
            # all of them here and busy, nothing else would ever bring the next worker.
            if wanted > sent and held < sent and wanted < sent * 2 and pending and held:
                return
            key.demand_sent = wanted
            message = key.message
            message.wanted = wanted
            message.backlog = len(pending)
            self._session.raylet_send(message)

    def _push(self, key: SchedulingKey) -> None:
        """Fill the key's leases with its pending tasks."""
        self._dirty.discard(key)
        pending = key.pending
        if not pending:
            return
        templates = self._templates
        extras = self.extras
        while pending:
            best: Lease | None = None
            for lease in key.leases.values():
                if lease.pushable and (best is None or lease.queued_us < best.queued_us):
                    best = lease
                    if not lease.inflight:
                        break
            if best is None or not best.fits(templates[pending[0][1]].estimate.us):
                break
            # A fair share for everyone who can take work, so that no lease gets all of a short list.
            most = min(BATCH_TASKS, -(-len(pending) // len(key.leases)))
            ids: list[bytes] = []
            numbers: list[int] = []
            args: list[bytes] = []
            special: list[tuple[int, Extra]] = []
            size = 0
            new: list[bytes] = []
            while pending and len(ids) < most and size < BATCH_BYTES:
                record = pending[0]
                oid, number, payload = record
                expected = templates[number].estimate.us
                if not best.fits(expected):
                    break
                pending.popleft()
                if extras:
                    extra = extras.get(oid)
                    if extra is not None:
                        if extra.cancelled:
                            name = templates[number].name
                            self._finish_failed(record, self._session.failures.cancelled(name, oid))
                            continue
                        special.append((len(ids), extra))
                if number not in best.templates:
                    new.extend(self._definitions(best, templates[number]))
                best.push(record, expected)
                ids.append(oid)
                numbers.append(number)
                args.append(payload)
                size += len(payload)
            if not ids:
                continue
            message = pb.PushTasks(lease_id=best.lease_id, ids=b"".join(ids), args=args)
            if numbers.count(numbers[0]) == len(numbers):
                message.templates.append(numbers[0])
            else:
                message.templates.extend(numbers)
            for index, extra in special:
                self._session.fill_extra(message.extras.add(), index, extra)
            new.append(encode(message))
            best.tokens.put(len(ids))
            self._session.send_bytes(best.connection, b"".join(new) if len(new) > 1 else new[0])
        self._demand(key)

    def _definitions(self, lease: Lease, template: Template) -> list[bytes]:
        frames = []
        if template.function_hash and template.function_hash not in lease.functions:
            lease.functions.add(template.function_hash)
            frames.append(encode(pb.DefineFunction(hash=template.function_hash, blob=template.function_blob)))
        lease.templates.add(template.number)
        frames.append(encode(template.definition))
        return frames

    # -- leases

    def granted(self, frame: pb.LeaseGranted) -> None:
        """The raylet lends a worker."""
        key = self._by_number[frame.key]
        if not key.pending and key.demand_sent == 0:
            self._session.raylet_send(pb.LeaseReturned(lease_id=frame.lease_id))
            return
        tokens = Tokens()
        lease = Lease(frame.lease_id, key, frame.worker.worker_id, frame.pid, tokens)
        lease.idle_since = self._session.now()
        self._leases[frame.lease_id] = lease
        key.leases[frame.lease_id] = lease
        connection = self._session.dial_lease(lease, frame.worker.endpoint)
        if connection is None:
            return  # the worker died meanwhile; the raylet tells
        lease.connection = connection
        self._push(key)
        if not lease.inflight:
            self._steal_for(lease)

    def infeasible(self, frame: pb.LeaseInfeasible) -> None:
        """No node can ever run what waits with that key. It waits for one that can, or fails, as the environment says."""
        if not setting("enable_infeasible_task_early_exit"):
            self._session.on_infeasible(frame.text)
            return
        key = self._by_number[frame.key]
        failure = self._session.failures.system(errors.TaskUnschedulableError(frame.text))
        pending, key.pending = key.pending, deque()
        for record in pending:
            self._finish_failed(record, failure)
        self._demand(key)

    def _return(self, lease: Lease, *, kill: bool = False) -> None:
        self._forget(lease)
        self._session.raylet_send(pb.LeaseReturned(lease_id=lease.lease_id, kill=kill, retire=lease.retiring))
        key = lease.key
        self._demand(key)

    def _forget(self, lease: Lease) -> None:
        del self._leases[lease.lease_id]
        del lease.key.leases[lease.lease_id]
        if lease.connection is not None:
            self._session.hang_up(lease.connection)
            lease.connection = None
        lease.tokens.close()  # type: ignore[attr-defined]

    def reclaim(self, count: int) -> None:
        """Others wait: give idle leases back now, and stop feeding as many busy ones as are still wanted."""
        for lease in [lease for lease in self._leases.values() if not lease.inflight and lease.connection is not None]:
            if count <= 0:
                return
            self._return(lease)
            count -= 1
        for lease in self._leases.values():
            if count <= 0:
                return
            if not lease.draining:
                lease.draining = True
                self._recover_tail(lease, len(lease.inflight))
                count -= 1

    def _recover_tail(self, lease: Lease, most: int) -> int:
        """Take tasks back from a lease into the front of the queue."""
        taken = lease.take_back(most)
        if taken:
            lease.key.pending.extendleft(reversed(taken))
            self._dirty.add(lease.key)
            self._session.pump.schedule(0.0)
            if lease.connection is not None:
                self._session.send(lease.connection, pb.TakeBack(lease_id=lease.lease_id, count=len(taken)))
        return len(taken)

    def _steal_for(self, idle: Lease) -> None:
        """A worker is free and nothing is pending: take half of the longest queue of the same key."""
        longest = max(
            (lease for lease in idle.key.leases.values() if lease is not idle and len(lease.inflight) > 1),
            key=lambda lease: lease.queued_us,
            default=None,
        )
        if longest is None or longest.taking_back:
            return  # in the second case `took_back` tries again
        if self._recover_tail(longest, len(longest.inflight) // 2):
            self._push(idle.key)

    def took_back(self, lease_id: int) -> None:
        """The worker forgot what was taken back."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        lease.took_back()
        if lease.taking_back:
            return
        if not lease.inflight and lease.draining:
            self._return(lease)
        elif lease.key.pending:
            self._push(lease.key)
        else:
            for idle in list(lease.key.leases.values()):
                if not idle.inflight and idle.pushable:
                    self._steal_for(idle)

    def blocked(self, lease_id: int) -> None:
        """The running task waits for something, or takes long: its queue goes elsewhere, until it has ended."""
        lease = self._leases.get(lease_id)
        if lease is not None and lease.inflight:
            lease.blocked = True
            # The first stays even if it has not begun: its result is what ends this.
            self._recover_tail(lease, len(lease.inflight) - 1)
            # What is pending now may need a worker more: the blocked one does not count.
            lease.key.demand_sent = 0
            self._demand(lease.key)

    def lease_broken(self, lease: Lease) -> None:
        """The connection to a leased worker ended; the raylet will say why."""
        if lease.connection is not None:
            self._session.hang_up(lease.connection)
            lease.connection = None

    def worker_died(self, frame: pb.WorkerDied) -> None:
        """A leased worker is dead: what had not begun costs nothing, the rest a retry."""
        lease = self._leases.get(frame.lease_id)
        if lease is None:
            return
        begun, unstarted = lease.lost()
        self._forget(lease)
        key = lease.key
        key.pending.extendleft(reversed(unstarted))
        for record in begun:
            self._system_failure(record, frame)
        self._dirty.add(key)
        self._push(key)
        self._demand(key)

    def _system_failure(self, record: Record, frame: pb.WorkerDied) -> None:
        oid, number, _ = record
        template = self._templates[number]
        extra = self.extras.get(oid)
        if extra is not None and extra.cancelled:
            self._finish_failed(record, self._session.failures.cancelled(template.name, oid))
            return
        if frame.out_of_memory and template.max_retries != 0:
            self._retry(record, extra, counted=False)
        elif template.max_retries < 0 or (extra.attempt if extra else 0) < template.max_retries:
            self._retry(record, extra, counted=True)
        elif frame.out_of_memory:
            self._finish_failed(record, self._session.failures.out_of_memory(template.name, frame.cause))
        else:
            self._finish_failed(record, self._session.failures.worker_crashed(template.name, frame.cause))

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
                self.result_extra(record, template, extras[index], lease)
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
            self._return(lease)
        elif key.pending:
            self._dirty.add(key)
        elif not inflight:
            lease.idle_since = self._session.now()
            self._steal_for(lease)

    def result_extra(self, record: Record, template: Template, result: pb.ResultExtra, lease: Lease | None) -> None:
        """A result that is not one small value."""
        oid = record[0]
        worker_id = lease.worker_id if lease is not None else b""
        for borrowed in result.borrowed:
            self._ownership.add_borrower(borrowed, worker_id)
        if lease is not None and result.last_call:
            lease.draining = lease.retiring = True
            self._recover_tail(lease, len(lease.inflight))
        if result.HasField("failure"):
            failure = result.failure
            extra = self.extras.get(oid)
            attempt = extra.attempt if extra else 0
            if (
                failure.retry
                and lease is not None
                and not (extra is not None and extra.cancelled)
                and (template.max_retries < 0 or attempt < template.max_retries)
            ):
                self._retry(record, extra, counted=True)
                return
            self._finish_failed(record, Failure(failure))
            return
        self.unfinished -= 1
        extra = self.extras.pop(oid, None)
        if template.num_returns == -1 and extra is not None and extra.stream is not None:
            extra.stream.ended(result.stream_length)
        for number, value in enumerate(result.returns):
            self._session.store_return(_nth(oid, number), value)
        if extra is not None:
            self._ownership.drop_many(extra.held)

    def _dependency_failed(self, template: Template, record: Record, failure: Failure) -> None:
        fields = self._session.failures.of_argument(
            failure, template.name, self._session.pid, self._session.welcome.node_ip
        )
        self._finish_failed(record, fields)

    def _finish_failed(self, record: Record, failure: Failure) -> None:
        """A task is over and has no value: every ref it should have filled gets the failure."""
        oid, number, _ = record
        self.unfinished -= 1
        template = self._templates[number]
        extra = self.extras.pop(oid, None)
        if template.num_returns == -1:
            if extra is not None and extra.stream is not None:
                extra.stream.failed(failure)
        else:
            for index in range(max(1, template.num_returns)):
                ref = _nth(oid, index)
                if self._ownership.alive(ref):
                    self._values.set(ref, failure)
        if extra is not None:
            self._ownership.drop_many(extra.held)

    # -- cancelling

    def cancel(self, oid: bytes, *, force: bool, recursive: bool) -> bool:
        """Cancel the task whose first result is `oid`; False when it is not here any more."""
        for key in self._by_number:
            for record in key.pending:
                if record[0] == oid:
                    key.pending.remove(record)
                    self._finish_failed(record, self._session.failures.cancelled(self._templates[record[1]].name, oid))
                    return True
        for lease in self._leases.values():
            entry = lease.inflight.get(oid)
            if entry is None:
                continue
            behind = list(lease.inflight)
            position = behind.index(oid)
            self._recover_tail(lease, len(behind) - position)
            if oid not in lease.inflight:
                return self.cancel(oid, force=force, recursive=recursive)
            self._extra(oid).cancelled = True
            if force:
                self._kill(lease)
            elif lease.connection is not None:
                self._session.send(lease.connection, pb.CancelTask(task_id=oid[:24], recursive=recursive))
            return True
        held_up = self._waiting.pop(oid, None)
        if held_up is not None:
            record, waiting = held_up
            waiting.give_up()
            for _, _, argument in self.extras[oid].refs:
                self._values.unwatch((argument,), waiting)
            self._finish_failed(record, self._session.failures.cancelled(self._templates[record[1]].name, oid))
            return True
        return False

    def under_way(self) -> set[bytes]:
        """Tasks that are not over, by id of their first result."""
        found = set(self._waiting)
        for key in self._by_number:
            found.update(record[0] for record in key.pending)
        for lease in self._leases.values():
            found.update(lease.inflight)
        return found

    def _kill(self, lease: Lease) -> None:
        """Give a lease back by having its worker killed: what ran is over, what had not begun goes elsewhere."""
        begun, unstarted = lease.lost()
        key = lease.key
        key.pending.extendleft(reversed(unstarted))
        self._return(lease, kill=True)
        killed = pb.WorkerDied(cause="its worker was killed to cancel another task")
        for record in begun:
            self._system_failure(record, killed)
        self._dirty.add(key)
        self._session.pump.schedule(0.0)

    def _extra(self, oid: bytes) -> Extra:
        extra = self.extras.get(oid)
        if extra is None:
            extra = self.extras[oid] = Extra()
        return extra

    def close(self) -> None:
        """Forget every lease; the raylet takes them back when the process leaves."""
        for lease in list(self._leases.values()):
            self._forget(lease)

    def where(self, oid: bytes) -> str:
        """How far the task is whose first result this is, for people; empty when there is none. Called under the lock."""
        for lease in self._leases.values():
            if oid in lease.inflight:
                ahead = list(lease.inflight).index(oid)
                name = self._templates[lease.inflight[oid][0][1]].name
                return f"task {name}, {f'behind {ahead} others ' if ahead else ''}with the worker of pid {lease.pid}"
        for key in self._by_number:
            for ahead, record in enumerate(key.pending):
                if record[0] == oid:
                    needs = show(dict(key.message.resources.amounts))
                    name = self._templates[record[1]].name
                    return f"task {name}, {f'behind {ahead} others ' if ahead else ''}waiting for a worker with {needs}"
        extra = self.extras.get(oid)
        for _, _, argument in extra.refs if extra is not None else ():
            if argument not in self._values.known:
                return f"its task waits for its argument ObjectRef({argument.hex()}){self._session._where(argument)}"
        return ""

    def statistics(self) -> dict[str, int]:
        """Sizes, for status and leak checks."""
        return {
            "pending": sum(len(key.pending) for key in self._by_number),
            "inflight": sum(len(lease.inflight) for lease in self._leases.values()),
            "leases": len(self._leases),
            "unfinished": self.unfinished,
        }


def _nth(oid: bytes, number: int) -> bytes:
    """Id of a task's result number `number`, from 0."""
    return oid if not number else oid[:24] + (number + 1).to_bytes(4, "little")
