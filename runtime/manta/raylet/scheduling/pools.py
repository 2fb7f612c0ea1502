"""Workers and their pools: started, idle, held back for somebody, let go, dead."""

from __future__ import annotations

from collections.abc import Callable

from manta.core.bundles import is_cpu
from manta.raylet.events import AskExit, ClosePool, Command, EndStart, KillWorker, PoolKey, StartWorker
from manta.raylet.scheduling.alarm import Alarm
from manta.raylet.scheduling.ledger import GpuShares, Ledger
from manta.raylet.scheduling.limits import Limits
from manta.raylet.scheduling.records import Pool, Reservation, Shape, Worker, WorkerState
from manta.raylet.scheduling.texts import why_overdue


class Pools:
    """Every worker of the node, and which of them are the same to everybody.

    Args:
        ledger: The node's resources.
        make_id: Makes the id of a new worker of a pool.
        limits: What it does in moderation.
        cpus: Whole CPUs of the node, at least 1.
        alarm: Told when time will change something.
    """

    def __init__(
        self, ledger: Ledger, *, make_id: Callable[[PoolKey], bytes], limits: Limits, cpus: int, alarm: Alarm
    ) -> None:
        self._ledger = ledger
        self._make_id = make_id
        self._limits = limits
        self._cpus = cpus
        self._alarm = alarm
        #: Every worker that is not dead.
        self.workers: dict[bytes, Worker] = {}
        self.by_key: dict[PoolKey, Pool] = {}
        #: Jobs that are over; a detached actor may still start under one. Ids are never given twice, and 4 bytes long.
        self._over: set[bytes] = set()
        #: How many were ever started, and died.
        self.started = self.died = 0

    def pool(self, key: PoolKey) -> Pool:
        """The pool of this key, new if need be."""
        pool = self.by_key.get(key)
        if pool is None:
            pool = self.by_key[key] = Pool(key, job_over=key[0] in self._over)
        return pool

    def of_job(self, job: bytes) -> list[Pool]:
        """The pools of a job."""
        return [pool for pool in self.by_key.values() if pool.key[0] == job]

    # ---- starting

    def starting(self) -> int:
        """Workers on their way."""
        return sum(len(pool.starting) for pool in self.by_key.values())

    def has_room(self) -> bool:
        """Whether one more worker may be on its way."""
        return self.starting() < self._limits.max_starting

    def may_start(self, pool: Pool, now: float) -> bool:
        """Whether a worker may be waited for: one that comes anyway, or a new one."""
        if len(pool.starting) > len(pool.reservations):
            return True
        if now < pool.not_before:
            self._alarm.by(pool.not_before)
            return False
        return self.has_room()

    def start(self, pool: Pool, now: float, cause: str, out: list[Command]) -> None:
        """Order one more worker."""
        worker = Worker(self._make_id(pool.key), pool.key, now)
        self.workers[worker.worker_id] = worker
        pool.workers.add(worker.worker_id)
        pool.starting.add(worker.worker_id)
        self.started += 1
        out.append(StartWorker(worker.worker_id, pool.key, cause))

    def prestart(self, job: bytes, now: float, cause: str, out: list[Command]) -> None:
        """Start workers for a job's first tasks."""
        pool = self.pool((job, b""))
        for _ in range(min(self._cpus, self._limits.prestart) - len(pool.workers)):
            if self.has_room():
                self.start(pool, now, cause, out)

    def end_overdue(self, now: float, cause: str, out: list[Command]) -> None:
        """End starts that take too long. Each has failed when its process is dead, as any other that ends before it is ready."""
        for pool in self.by_key.values():
            for worker_id in sorted(pool.starting):
                worker = self.workers[worker_id]
                due = worker.born_at + self._limits.start_s
                if worker.overdue:
                    continue
                if now < due:
                    self._alarm.by(due)
                else:
                    worker.overdue = True
                    out.append(EndStart(worker_id, why_overdue(self._limits.start_s), cause))

    # ---- reservations

    def reserve(self, shape: Shape, shares: GpuShares, now: float, cause: str, out: list[Command]) -> None:
        """Hold what was taken for the shape until a worker is there; order one if none is on its way for it."""
        pool = self.pool(shape.pool)
        shape.reserved += 1
        pool.reservations.append(Reservation(shape, shares))
        if len(pool.starting) < len(pool.reservations):
            self.start(pool, now, cause, out)

    def drop_reservation(self, shape: Shape) -> None:
        """Give back what was taken for a worker on its way; the worker comes all the same."""
        reservations = self.by_key[shape.pool].reservations
        for at in range(len(reservations) - 1, -1, -1):
            if reservations[at].shape is shape:
                self._ledger.give_back(shape.holds, reservations[at].shares)
                del reservations[at]
                shape.reserved -= 1
                return
        raise AssertionError("a shape counts a reservation that its pool does not have")

    def trim_reservations(self, pool: Pool) -> None:
        """Fewer workers are on their way: nobody waits for one that does not come."""
        while len(pool.reservations) > len(pool.starting):
            self.drop_reservation(pool.reservations[-1].shape)

    # ---- without work

    def rest(self, worker: Worker, pool: Pool, now: float) -> None:
        """A worker has nothing to do."""
        worker.state = WorkerState.IDLE
        worker.idle_since = now
        pool.idle.append(worker.worker_id)

    def actor_left_with_one(self, pool: Pool, now: float) -> None:
        """An actor took a worker for good: so may the next one, soon."""
        pool.burst = min(self._limits.max_spares, (pool.burst if now < pool.burst_until else 0) + 1)
        pool.burst_until = now + self._limits.spare_window_s

    def keep_spares(self, now: float, cause: str, out: list[Command]) -> None:
        """Fork workers before actors ask for them."""
        for pool in self.by_key.values():
            if pool.job_over or not pool.burst:
                continue
            if now >= pool.burst_until:
                # One stays for the next actor, whenever that is.
                pool.burst = 1
            else:
                self._alarm.by(pool.burst_until)
            while len(pool.idle) + len(pool.starting) - len(pool.reservations) < pool.burst:
                if now < pool.not_before:
                    self._alarm.by(pool.not_before)
                    break
                if not self.has_room():
                    break
                self.start(pool, now, cause, out)

    def let_go(self, now: float, cause: str, out: list[Command]) -> None:
        """Ask idle workers above what is worth keeping to leave, the longest idle first."""
        idle = sum(len(pool.idle) for pool in self.by_key.values())
        spares = sum(pool.burst for pool in self.by_key.values())
        keep = max(self._cpus, spares)
        if idle <= keep:
            return
        # Each pool's line is in order of idleness already.
        lines = [(self.workers[pool.idle[0]].idle_since, pool) for pool in self.by_key.values() if pool.idle]
        while idle > keep and lines:
            lines.sort(key=lambda line: line[0])
            since, pool = lines[0]
            if now < since + self._limits.idle_s:
                self._alarm.by(since + self._limits.idle_s)
                return
            self.ask_to_leave(self.workers[pool.idle.pop(0)], "it was idle", cause, out)
            idle -= 1
            if pool.idle:
                lines[0] = (self.workers[pool.idle[0]].idle_since, pool)
            else:
                del lines[0]

    # ---- leaving

    @staticmethod
    def ask_to_leave(worker: Worker, reason: str, cause: str, out: list[Command]) -> None:
        """Let a worker that is not under a lease, nor in its pool's idle line, go in peace."""
        worker.state = WorkerState.LEAVING
        out.append(AskExit(worker.worker_id, reason, cause))

    def kill(self, worker: Worker, reason: str, cause: str, out: list[Command]) -> None:
        """End a worker; it holds what it holds until it is dead."""
        if worker.state is WorkerState.DYING:
            return
        pool = self.by_key[worker.pool]
        self._out_of_line(worker, pool)
        worker.state = WorkerState.DYING
        self.trim_reservations(pool)
        out.append(KillWorker(worker.worker_id, reason, cause))

    def forget(self, worker: Worker, pool: Pool) -> None:
        """It is dead. What it holds is given back by `release`, what was reserved for it by `trim_reservations`."""
        del self.workers[worker.worker_id]
        self.died += 1
        pool.workers.discard(worker.worker_id)
        self._out_of_line(worker, pool)

    @staticmethod
    def _out_of_line(worker: Worker, pool: Pool) -> None:
        if worker.state is WorkerState.STARTING:
            pool.starting.discard(worker.worker_id)
        elif worker.state is WorkerState.IDLE:
            pool.idle.remove(worker.worker_id)

    def job_over(self, job: bytes) -> None:
        """The job's pools go with their last workers."""
        self._over.add(job)
        for pool in self.of_job(job):
            pool.job_over = True

    def close_if_over(self, pool: Pool, *, wanted: bool, cause: str, out: list[Command]) -> None:
        """Close a pool that nobody wants, has or will have a worker of."""
        if pool.job_over and not pool.workers and not wanted and self.by_key.pop(pool.key, None) is not None:
            out.append(ClosePool(pool.key, cause))

    # ---- what a worker holds

    def lend_cpu(self, worker: Worker) -> None:
        """It waits: others may use its CPU."""
        worker.lent = True
        for name, amount in worker.holds.items():
            if is_cpu(name):
                self._ledger.lend_cpu(amount, name)

    def retake_cpu(self, worker: Worker) -> None:
        """It runs again."""
        worker.lent = False
        for name, amount in worker.holds.items():
            if is_cpu(name):
                self._ledger.retake_cpu(amount, name)

    def release(self, worker: Worker) -> None:
        """Take back what a worker holds."""
        if worker.lent:
            self.retake_cpu(worker)
        self._ledger.give_back(worker.holds, worker.shares)
        worker.holds, worker.shares = {}, ()
