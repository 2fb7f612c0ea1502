"""What a process tells its raylet of tasks: those that ended, once a second at most, and those under way, when asked.

Costs the loops that run tasks one `append` per task; everything else happens here, for many tasks at a time. What ends faster
than it can be told is counted and not told one by one. Runs under the process's lock.
"""

from __future__ import annotations

import time
from collections import Counter, deque

from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.direct import DirectSession
    from manta.client.running import Running

#: A report waits so long for company, seconds.
PERIOD_S = 1.0
#: Unless so many tasks wait to be told: they hold memory.
MOST_WAITING = 4096
#: Tasks told one by one in a report; of more the last ones are, and those that failed.
MOST_TOLD = 1000
#: Tasks under way told at a time, of each state.
MOST_UNDER_WAY = 10_000
#: Characters of an error's text.
MOST_TEXT = 1000
#: Classes of run times: below 4**i microseconds, and one for all others.
CLASSES = 17

#: A task of this process's that never ran, or whose worker died: id, name, earlier attempts, when it ended.
Lost = tuple[bytes, str, int, int]


class Reporter:
    """Gathers, and makes frames of it."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        #: Tasks that ran here and ended: (what it was, microseconds, when in `perf_counter_ns`). The loops append.
        self.ended: deque[tuple[Running, int, int]] = deque()
        #: There is something else to send.
        self.dirty = False
        self._lost: deque[Lost] = deque(maxlen=MOST_TOLD)
        #: Why tasks failed, by first result: (type, text).
        self._troubles: dict[bytes, tuple[str, str]] = {}
        self._due: float | None = None
        #: Make further frames, or None when there is nothing: what user code measures.
        self.sources: list[Callable[[], Message | None]] = []
        #: Tasks and calls that run in this process now.
        self.running: Callable[[], Iterable[Running]] = tuple

    # -- what happened

    def raised(self, oid: bytes, failure: pb.TaskFailure) -> None:
        """A task that runs here has failed. From any thread."""
        if len(self._troubles) < MOST_WAITING:
            self._troubles[oid] = _trouble(failure)

    def lost(self, oid: bytes, name: str, attempt: int, failure: pb.TaskFailure) -> None:
        """A task or call of this process's has ended without a value. Workers tell of those that user code failed."""
        if failure.kind == pb.FAILURE_KIND_APPLICATION:
            return
        if len(self._lost) == MOST_TOLD:
            self._troubles.pop(self._lost[0][0], None)
        self._lost.append((oid, name, attempt, time.time_ns() // 1000))
        self.raised(oid, failure)
        self.wants()

    def wants(self) -> None:
        """There is something to send, soon. Called under the lock."""
        if not self.dirty:
            self.dirty = True
            self._session.pump.schedule(self._session.now() + PERIOD_S)

    # -- sending

    def tick(self, now: float) -> float | None:
        """Send what is due. Returns when to be called again."""
        if len(self.ended) < MOST_WAITING:
            if self._due is None:
                self._due = now + PERIOD_S
            if now < self._due:
                return self._due
        self.flush()
        return None

    def flush(self) -> None:
        """Send whatever was gathered."""
        self._due = None
        if self.ended or self._lost:
            self._session.raylet_send(self._report())
        self.dirty = False
        for source in self.sources:
            frame = source()
            if frame is not None:
                self._session.raylet_send(frame)

    def asked(self, request_id: int) -> None:
        """The raylet wants to know, and now."""
        report = self._report()
        report.request_id = request_id
        self._add_under_way(report)
        self._session.raylet_send(report)

    def _report(self) -> pb.TaskReport:
        # Other threads append meanwhile: what is taken is taken one by one.
        ended = [self.ended.popleft() for _ in range(len(self.ended))]
        lost, troubles = list(self._lost), self._troubles
        self._lost.clear()
        rows = _Rows(self._session)
        report = rows.report
        if ended:
            counts = Counter(map(int.bit_length, [micros for _, micros, _ in ended]))
            execution = [0] * CLASSES
            for bits, count in counts.items():
                execution[min((bits + 1) // 2, CLASSES - 1)] += count
            report.execution.extend(execution)
            report.execution_us = sum([micros for _, micros, _ in ended])
            report.failed = sum([now.oid in troubles for now, _, _ in ended]) if troubles else 0
            if len(ended) > MOST_TOLD:
                report.untold = len(ended)
                last = ended[-MOST_TOLD:]
                failed = [one for one in ended[:-MOST_TOLD] if one[0].oid in troubles] if troubles else []
                for now, _, _ in failed[:-MOST_TOLD]:
                    del troubles[now.oid]
                ended = failed[-MOST_TOLD:] + last
                report.untold -= len(ended)
            # To Unix time, as the clocks stand to each other now.
            offset = time.time_ns() - time.perf_counter_ns()
            for now, micros, at in ended:
                end = (at + offset) // 1000
                trouble = troubles.pop(now.oid, None) if troubles else None
                rows.add(now.oid, now.name, now.attempt, end - micros, end, trouble, pb.TASK_STATE_FINISHED)
        for oid, name, attempt, at in lost:
            rows.add(oid, name, attempt, 0, at, troubles.pop(oid, None) or ("UNKNOWN", ""), pb.TASK_STATE_FINISHED)
        return rows.done()

    def _add_under_way(self, report: pb.TaskReport) -> None:
        session = self._session
        rows = _Rows(session, report)
        for now in self.running():
            rows.add(now.oid, now.name, now.attempt, 0, 0, None, pb.TASK_STATE_RUNNING)
        for state, tasks in session.submitter.by_state().items():
            for oid, name in tasks:
                rows.add(oid, name, session.submitter.attempts(oid), 0, 0, None, state)
        for oid, name in session.actor_calls.names_under_way(MOST_UNDER_WAY):
            rows.add(oid, name, 0, 0, 0, None, pb.TASK_STATE_SUBMITTED_TO_WORKER)
        rows.done()


class _Rows:
    """Columns that grow."""

    def __init__(self, session: DirectSession, report: pb.TaskReport | None = None) -> None:
        self.report = report if report is not None else pb.TaskReport()
        self._ids: list[bytes] = [self.report.ids] if self.report.ids else []
        self._count = len(self.report.state)
        self._names = {name: at for at, name in enumerate(self.report.names)}
        host = session.actor_host
        if host is not None:
            self.report.actor_id = host.actor_id

    def add(
        self, oid: bytes, name: str, attempt: int, started: int, ended: int, trouble: Any, state: pb.TaskState
    ) -> None:
        """One more task; it has failed if there is trouble."""
        report, names = self.report, self._names
        at = names.get(name)
        if at is None:
            at = names[name] = len(names)
        self._ids.append(oid[:24])
        report.name.append(at)
        report.attempt.append(attempt)
        report.started_us.append(started)
        report.ended_us.append(ended)
        if trouble is not None:
            report.troubles.add(index=self._count, type=trouble[0], message=trouble[1])
            state = pb.TASK_STATE_FAILED
        report.state.append(state)
        self._count += 1

    def done(self) -> pb.TaskReport:
        """The report."""
        self.report.ids = b"".join(self._ids)
        del self.report.names[:]
        self.report.names.extend(self._names)
        return self.report


_TYPES = {
    pb.FAILURE_KIND_APPLICATION: "TASK_EXECUTION_EXCEPTION",
    pb.FAILURE_KIND_CANCELLED: "TASK_CANCELLED",
    pb.FAILURE_KIND_ACTOR_EXIT: "ACTOR_DIED",
    pb.FAILURE_KIND_DEPENDENCY: "DEPENDENCY_FAILED",
}
#: Codes of ours under the names that users filter by.
_CODES = {"WORKER_CRASHED": "WORKER_DIED", "OOM": "OUT_OF_MEMORY"}


def _trouble(failure: pb.TaskFailure) -> tuple[str, str]:
    code = failure.error.code
    kind = _TYPES.get(failure.kind) or _CODES.get(code, code) or "UNKNOWN"
    text = failure.message or failure.error.message
    if failure.classes:
        text = f"{failure.classes[0]}: {text}"
    return kind, text[:MOST_TEXT]
