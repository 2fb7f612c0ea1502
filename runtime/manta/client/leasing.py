"""Leases of this process: how many workers to ask for, what to push to which, what to take back, when to return one.

What a single lease knows is in `lease`. Everything here runs under the process's lock and never blocks; frames leave through
connections that queue what the kernel does not take. Pushing is flat: columns instead of messages (benchmarks: tasks pipelined;
each avoided call is 2-3 % of that row).
"""

from __future__ import annotations

from collections import deque

from manta.client import failures
from manta.client.far_leases import FarLeases, FarTokens
from manta.client.lease import BATCH_BYTES, BATCH_TASKS, Lease, Tokens, wanted_leases
from manta.core import errors
from manta.core.environment import setting
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import encode
from manta.transport.convert import error_from_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.arguments import Extra
    from manta.client.direct import DirectSession
    from manta.client.links import Link
    from manta.client.submit import Submitter
    from manta.client.templates import SchedulingKey, Template

#: A lease with nothing to do is given back after this long.
IDLE_LEASE_S = 0.5

#: When a connection to a leased worker ends, the raylet says at once that the worker is dead. If it does not, the worker lives
#: and is of no use any more: nobody can tell what became of its tasks. Longer than a busy raylet takes.
BROKEN_S = 5.0

#: A worker with more than one task that has sent nothing for so long runs one that takes longer than was expected: the tasks
#: behind it go elsewhere. Several times what may be queued, so that a busy machine is not taken for a long task.
STALL_S = 0.02


#: A worker of another node whose connection ended: for so long its raylet is waited for to say why.
CUT_S = 2.0


class Leasing:
    """The owner's side of leases."""

    def __init__(self, session: DirectSession, tasks: Submitter) -> None:
        self._session = session
        self._tasks = tasks
        self._templates = session.templates.all
        self._keys = session.templates.keys
        #: By id.
        self.leases: dict[int, Lease] = {}
        #: Keys with tasks that could be pushed.
        self.dirty: set[SchedulingKey] = set()
        #: Demands on other nodes.
        self.far = FarLeases(session, self)

    def tick(self, now: float) -> float | None:
        """Timers: gathered submits, stalled workers, idle leases. Returns when to be called again."""
        tasks = self._tasks
        due = tasks.gather_due
        if now >= due if due is not None else self.dirty:
            # Also if all of it was pushed meanwhile: a time that has passed would be due again at once, and for ever.
            tasks.flush()
            due = None
        for lease in list(self.leases.values()):
            if len(lease.inflight) > 1 and not lease.blocked and not lease.broken_at:
                if not lease.progress_at:
                    lease.progress_at = now
                end = lease.progress_at + STALL_S
                if now >= end:
                    self.blocked(lease.lease_id)
                elif due is None or end < due:
                    due = end
                continue
            if lease.connection is None:
                end = lease.broken_at + (BROKEN_S if lease.lender is None else CUT_S)
                if lease.broken_at and now >= end:
                    where = "" if lease.lender is None else " on another node"
                    self.kill(lease, f"the connection to its worker{where} broke")
                elif lease.broken_at and (due is None or end < due):
                    due = end
                continue
            if lease.inflight or lease.key.pending:
                continue
            end = lease.idle_since + (0.0 if lease.draining else IDLE_LEASE_S)
            if now >= end:
                self.give_back(lease)
            elif due is None or end < due:
                due = end
        return due

    # -- asking and pushing

    def demand(self, key: SchedulingKey) -> None:
        """Tell the raylet how many workers would help, when that has changed enough to matter."""
        pending = key.pending
        held = len(key.leases)
        if pending:
            expected = self._templates[pending[0][1]].estimate.us
            wanted = held + wanted_leases(len(pending), expected)
        else:
            wanted = held
        sent = key.demand_sent
        far = key.far
        if far is not None:
            if not pending and far.asked:
                self.far.lower(key)
            if far.dirty:
                sent = -1
        if wanted > sent or (wanted < sent and not pending):
            # Growing demands are said in steps: a loop of submits would send one frame each. Only while leases are owed: with
            # all of them here and busy, nothing else would ever bring the next worker.
            if wanted > sent and held < sent and wanted < sent * 2 and pending and held:
                return
            key.demand_sent = wanted
            message = key.message
            message.wanted = wanted
            message.backlog = len(pending)
            if far is not None:
                far.dirty = False
                message.away, message.spill_seen = far.away, far.seen
            extras = self._tasks.extras
            if extras and pending:
                message.prefer = self._session.arguments.most_bytes_at(extras.get(pending[0][0]))
            self._session.raylet_send(message)

    def push(self, key: SchedulingKey) -> None:
        """Fill the key's leases with its pending tasks."""
        self.dirty.discard(key)
        pending = key.pending
        if not pending:
            return
        templates = self._templates
        extras = self._tasks.extras
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
                            self._tasks.finish_failed(record, failures.cancelled(templates[number].name, oid))
                            continue
                        special.append((len(ids), extra))
                        if extra.refs:
                            size += self._session.arguments.inline_bytes(extra)
                if number not in best.templates:
                    new.extend(_definitions(best, templates[number]))
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
        self.demand(key)

    # -- coming and going

    def granted(self, frame: pb.LeaseGranted, link: Link) -> None:
        """A raylet lends a worker."""
        key = self._keys[frame.key]
        lender = None if link is self._session.raylet else link
        unwanted = not key.pending and (lender is not None or key.demand_sent == 0)
        if unwanted or frame.lease_id in self.leases:
            # In the second case another node's has that number by chance; the next one will do.
            self._session.send(link, pb.LeaseReturned(lease_id=frame.lease_id))
            return
        links = self._session.links
        tokens: FarTokens | Tokens
        descriptors: tuple[int, ...]
        if links.is_far(frame.worker):
            tokens, descriptors = FarTokens(), ()
        else:
            tokens = Tokens()
            descriptors = (tokens.fd,)
        lease = Lease(frame.lease_id, key, frame.worker.worker_id, frame.pid, tokens)
        lease.lender = lender
        lease.idle_since = self._session.now()
        self.leases[frame.lease_id] = lease
        key.leases[frame.lease_id] = lease
        # The worker gets the semaphore with the first bytes; on another node from its raylet.
        worker = links.dial(
            frame.worker,
            first=(pb.OpenLease(lease_id=lease.lease_id),),
            descriptors=descriptors,
            lease_id=lease.lease_id,
        )
        if worker is None:
            return  # it died meanwhile; the raylet tells
        worker.worker_id = lease.worker_id
        worker.lease = lease
        lease.connection = worker
        self.push(key)
        if not lease.inflight:
            self.steal_for(lease)

    def infeasible(self, frame: pb.LeaseInfeasible) -> None:
        """No node can ever run what waits with that key. It waits for one that can, or fails, as the environment says."""
        if not setting("enable_infeasible_task_early_exit"):
            self._session.on_infeasible(frame.text)
            return
        self._fail_pending(self._keys[frame.key], errors.TaskUnschedulableError(frame.text))

    def failed(self, frame: pb.LeaseFailed, link: Link) -> None:
        """A raylet has given the demand up; what is submitted later is another one."""
        key = self._keys[frame.key]
        self.far.gave_up(link, key)
        # Whatever is wanted now is said anew: the last demand may have crossed this frame, and stand there for nobody.
        key.demand_sent = -1
        self._fail_pending(key, error_from_proto(frame.error))

    def _fail_pending(self, key: SchedulingKey, error: errors.MantaError) -> None:
        failure = failures.system(error)
        pending, key.pending = key.pending, deque()
        for record in pending:
            self._tasks.finish_failed(record, failure)
        self.demand(key)

    def give_back(self, lease: Lease, *, kill: bool = False) -> None:
        """Return a lease to the raylet."""
        self._forget(lease)
        if lease.lender is None:
            self._session.raylet_send(pb.LeaseReturned(lease_id=lease.lease_id, kill=kill, retire=lease.retiring))
        else:
            self.far.give_back(lease, kill=kill)
        self.demand(lease.key)

    def _forget(self, lease: Lease) -> None:
        del self.leases[lease.lease_id]
        del lease.key.leases[lease.lease_id]
        self._unlink(lease)
        lease.tokens.close()  # type: ignore[attr-defined]

    def reclaim(self, count: int, link: Link) -> None:
        """Others wait at a node: give idle leases back now, and stop feeding as many busy ones as are still wanted."""
        lender = None if link is self._session.raylet else link
        lent = [lease for lease in self.leases.values() if lease.lender is lender]
        for lease in [lease for lease in lent if not lease.inflight and lease.connection is not None]:
            if count <= 0:
                return
            self.give_back(lease)
            count -= 1
        for lease in lent:
            if count <= 0:
                return
            if not lease.draining and lease.lease_id in self.leases:
                lease.draining = True
                self.recover_tail(lease, len(lease.inflight))
                count -= 1

    def broken(self, lease: Lease) -> None:
        """The connection to a leased worker ended; the raylet will say why."""
        self._unlink(lease)
        lease.broken_at = now = self._session.now()
        self._session.pump.schedule(now + (BROKEN_S if lease.lender is None else CUT_S))

    def _unlink(self, lease: Lease) -> None:
        link, lease.connection = lease.connection, None
        if link is not None:
            self._session.links.close(link)
            link.lease = None

    def worker_died(self, frame: pb.WorkerDied) -> None:
        """A leased worker is dead: what had not begun costs nothing, the rest a retry."""
        lease = self.leases.get(frame.lease_id)
        if lease is None:
            return
        if lease.connection is not None:
            self._session.links.read_to_end(lease.connection)
            if frame.lease_id not in self.leases:
                return  # its last result was there, and with it the lease's end
        if type(lease.tokens) is FarTokens and not frame.node_died:
            lease.tokens.ended(frame.started)
        begun, unstarted = lease.lost()
        self._forget(lease)
        key = lease.key
        key.pending.extendleft(reversed(unstarted))
        for record in begun:
            self._tasks.system_failure(record, frame)
        self.dirty.add(key)
        self.push(key)
        self.demand(key)

    def kill(self, lease: Lease, why: str = "its worker was killed to cancel another task") -> None:
        """Give a lease back by having its worker killed: what ran is over, what had not begun goes elsewhere."""
        begun, unstarted = lease.lost()
        key = lease.key
        key.pending.extendleft(reversed(unstarted))
        self.give_back(lease, kill=True)
        killed = pb.WorkerDied(cause=why)
        for record in begun:
            self._tasks.system_failure(record, killed)
        self.dirty.add(key)
        self._session.pump.schedule(0.0)

    def close(self) -> None:
        """Forget every lease; the raylet takes them back when the process leaves."""
        for lease in list(self.leases.values()):
            self._forget(lease)

    # -- taking back

    def recover_tail(self, lease: Lease, most: int) -> int:
        """Take tasks back from a lease into the front of the queue; on another node that happens once its raylet has answered."""
        if type(lease.tokens) is FarTokens:
            if most > 0:
                self.far.ask_tokens(lease, most)
            return 0
        taken = lease.take_back(most)
        if taken:
            lease.key.pending.extendleft(reversed(taken))
            self.dirty.add(lease.key)
            self._session.pump.schedule(0.0)
            if lease.connection is not None:
                self._session.send(lease.connection, pb.TakeBack(lease_id=lease.lease_id, count=len(taken)))
        return len(taken)

    def tokens_taken(self, frame: pb.TokensTaken) -> None:
        """The raylet of another node has taken tokens of a lease there."""
        lease = self.leases.get(frame.lease_id)
        if lease is None:
            return
        if not frame.count:
            self.took_back(frame.lease_id)
            return
        if type(lease.tokens) is FarTokens:
            lease.tokens.taken += frame.count
        lease.key.pending.extendleft(reversed(lease.taken(frame.count)))
        self.dirty.add(lease.key)
        self._session.pump.schedule(0.0)
        if lease.connection is not None:
            self._session.send(lease.connection, pb.TakeBack(lease_id=lease.lease_id, count=frame.count))

    def steal_for(self, idle: Lease) -> None:
        """A worker is free and nothing is pending: take half of the longest queue of the same key."""
        longest = max(
            (lease for lease in idle.key.leases.values() if lease is not idle and len(lease.inflight) > 1),
            key=lambda lease: lease.queued_us,
            default=None,
        )
        if longest is None or longest.taking_back:
            return  # in the second case `took_back` tries again
        if self.recover_tail(longest, len(longest.inflight) // 2):
            self.push(idle.key)

    def took_back(self, lease_id: int) -> None:
        """The worker forgot what was taken back."""
        lease = self.leases.get(lease_id)
        if lease is None:
            return
        lease.took_back()
        if lease.taking_back:
            return
        if not lease.inflight and lease.draining:
            self.give_back(lease)
        else:
            self._feed(lease.key)

    def _feed(self, key: SchedulingKey) -> None:
        """A lease takes tasks again: push what is pending, or even out what is not."""
        if key.pending:
            self.push(key)
            return
        for idle in list(key.leases.values()):
            if not idle.inflight and idle.pushable:
                self.steal_for(idle)

    def pressure(self, lease: Lease, full: bool) -> None:
        """The worker has too much unread, or has read it."""
        lease.clogged = full
        if not full:
            self._feed(lease.key)

    def blocked(self, lease_id: int) -> None:
        """The running task waits for something, or takes long: its queue goes elsewhere, until it has ended."""
        lease = self.leases.get(lease_id)
        if lease is not None and lease.inflight:
            lease.blocked = True
            # The first stays even if it has not begun: its result is what ends this.
            self.recover_tail(lease, len(lease.inflight) - 1)
            # What is pending now may need a worker more: the blocked one does not count.
            lease.key.demand_sent = 0
            self.demand(lease.key)


def _definitions(lease: Lease, template: Template) -> list[bytes]:
    """Frames that tell a worker what a template means."""
    frames = []
    if template.function_hash and template.function_hash not in lease.functions:
        lease.functions.add(template.function_hash)
        frames.append(encode(pb.DefineFunction(hash=template.function_hash, blob=template.function_blob)))
    lease.templates.add(template.number)
    frames.append(encode(template.definition))
    return frames
