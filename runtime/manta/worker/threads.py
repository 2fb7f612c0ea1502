"""An actor whose calls run on threads: several at once, in groups of their own if it says so."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from manta.client.running import Running
from manta.client.waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.links import Link
    from manta.worker.actors import ActorHost
    from manta.worker.calls import Queued
    from manta.worker.executor import Executor


log = logging.getLogger(__name__)


class ThreadedActor:
    """Hands calls to the threads of their group, from the main thread, which reads the sockets meanwhile."""

    def __init__(self, executor: Executor, host: ActorHost) -> None:
        self._executor = executor
        self._session = executor.session
        self._host = host
        self._pools: dict[str, ThreadPoolExecutor] = {
            name: ThreadPoolExecutor(size, f"manta-{name}") for name, size in host.spec.concurrency_groups.items()
        }
        self._pools[""] = ThreadPoolExecutor(host.concurrency, "manta-actor")
        #: Threads of each group that run nothing.
        self._free: dict[str, int] = {**host.spec.concurrency_groups, "": host.concurrency}
        #: Calls of each group that wait for one.
        self._ready: dict[str, deque[Queued]] = {name: deque() for name in self._pools}
        self._under_way = 0
        self._leaving: SystemExit | None = None

    def run(self) -> int:
        """Serve until told to leave; the exit code.

        Raises:
            SystemExit: A call raised it.
        """
        executor, session, queue = self._executor, self._session, self._executor.inbox.queue
        while True:
            with session.lock:
                while queue:
                    task = queue.popleft()
                    named = task[2].definition.concurrency_group
                    group = named if named in self._pools else ""
                    self._ready[group].append(task)
                    if self._free[group]:
                        self._free[group] -= 1
                        self._under_way += 1
                        self._pools[group].submit(self._work, group, *self._begin(group))
                if self._leaving is not None:
                    raise self._leaving
                if executor.leaving is not None and not self._under_way and not executor.inbox.held:
                    executor.delivery.flush_all()
                    return 0
                idle = executor.idle = Waiter()
            session.pump.wait(idle)
            executor.idle = None

    def waiting(self) -> list[bytes]:
        """Calls that no thread has begun. Called under the lock."""
        return [task[1] for ready in self._ready.values() for task in ready]

    def recall(self, link: Link) -> list[Queued]:
        """Give back the link's calls that have not begun, in their groups' order. Called under the lock."""
        recalled: list[Queued] = []
        for name, ready in self._ready.items():
            mine = [task for task in ready if task[0] is link]
            if mine:
                recalled += mine
                self._ready[name] = deque(task for task in ready if task[0] is not link)
        return recalled

    def _begin(self, group: str) -> tuple[Queued, Running]:
        """The next call of the group runs from now on. Called under the lock."""
        task = self._ready[group].popleft()
        now = Running(task[1], task[2].name, task[4].attempt if task[4] is not None else 0, task[2])
        self._host.now_running[task[1][:24]] = now
        return task, now

    def _work(self, group: str, task: Queued, now: Running) -> None:
        """One call after the other, on a thread of their group."""
        following: tuple[Queued, Running] | None = task, now
        while following is not None:
            try:
                self._one(*following)
            except Exception:
                log.exception("a call's result could not be told")
            with self._session.lock:
                following = self._begin(group) if self._ready[group] and self._leaving is None else None
                if following is None:
                    self._free[group] += 1
                    self._under_way -= 1
                    if self._executor.idle is not None:
                        self._session.pump.finish(self._executor.idle)

    def _one(self, task: Queued, now: Running) -> None:
        session, host = self._session, self._host
        # Refs that come out of pickles in this thread are this call's to report, and no other's.
        received: list[bytes] = []
        session.capture.refs = received
        try:
            result, micros, _ = host.run_one(task, now, received)
            with session.lock:
                delivery = self._executor.delivery
                if received:
                    delivery.finish_with_refs(task[0], task[1], result, micros, received)
                else:
                    delivery.finish(task[0], task[1], result, micros)
                delivery.flush(task[0])
        except SystemExit as leaving:
            with session.lock:
                self._leaving = leaving
                self._executor.asked_to_leave("the actor exits")
        finally:
            session.capture.refs = None
            with session.lock:
                self._host.now_running.pop(task[1][:24], None)
