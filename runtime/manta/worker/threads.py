"""An actor whose calls run on threads: several at once, in groups of their own if it says so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from manta.client.running import Running
from manta.client.waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.worker.actors import ActorHost
    from manta.worker.calls import Queued
    from manta.worker.executor import Executor


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
                    group = task[2].definition.concurrency_group
                    self._under_way += 1
                    self._pools.get(group, self._pools[""]).submit(self._work, task)
                if self._leaving is not None:
                    raise self._leaving
                if executor.leaving is not None and not self._under_way:
                    executor.delivery.flush_all()
                    return 0
                idle = executor.idle = Waiter()
            session.pump.wait(idle)
            executor.idle = None

    def _work(self, task: Queued) -> None:
        """One call, on a thread of its group."""
        session, host = self._session, self._host
        # Refs that come out of pickles in this thread are this call's to report, and no other's.
        received: list[bytes] = []
        session.capture.refs = received
        now = Running(task[1], task[2].name, task[4].attempt if task[4] is not None else 0, task[2])
        with session.lock:
            host.now_running[task[1][:24]] = now
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
                self._under_way -= 1
                self._host.now_running.pop(task[1][:24], None)
                if self._executor.idle is not None:
                    session.pump.finish(self._executor.idle)


def run_threads(executor: Executor, host: ActorHost) -> int:
    """Serve the actor's calls on threads; see `ThreadedActor.run`."""
    return ThreadedActor(executor, host).run()
