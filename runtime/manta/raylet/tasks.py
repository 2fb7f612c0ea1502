"""What is remembered of tasks on this node: the last ones that ended, and how many ran how long. Told by `state_service`."""

from __future__ import annotations

from collections import deque
from typing import Final

from manta.metrics.histogram import Histogram
from manta.rpc.v1 import channel_pb2 as pb

#: Tasks remembered. Reports are kept as they came: the one who asks takes them apart.
MOST_ROWS: Final = 10_000
#: Upper bounds of run times, seconds; see TaskReport.execution.
BOUNDS: Final = tuple(4**at / 1e6 for at in range(16))


class TaskBook:
    """Reports of tasks that ended, a bounded number of them, and sums over all.

    Attributes:
        execution: How long tasks ran, in seconds.
        finished: How many ended well.
        failed: How many user code failed, and how many never ran or died with their worker.
        untold: How many have been forgotten, or were never told one by one.
    """

    def __init__(self, most: int = MOST_ROWS) -> None:
        self._most = most
        self._reports: deque[pb.TaskReport] = deque()
        self._rows = 0
        self.execution = Histogram(BOUNDS)
        self.finished = self.failed = self.untold = 0

    def add(self, report: pb.TaskReport) -> None:
        """One process has reported. Rows about tasks under way are the asker's and are not kept."""
        ran = sum(report.execution)
        lost = sum(
            1 for started, ended in zip(report.started_us, report.ended_us, strict=False) if ended and not started
        )
        self.execution.merge(report.execution, report.execution_us / 1e6)
        self.finished += max(0, ran - report.failed)
        self.failed += report.failed + lost
        self.untold += report.untold
        if not report.state:
            return
        self._reports.append(report)
        self._rows += len(report.state)
        while self._rows > self._most and len(self._reports) > 1:
            gone = len(self._reports.popleft().state)
            self._rows -= gone
            self.untold += gone

    def reports(self) -> list[pb.TaskReport]:
        """What is remembered, oldest first."""
        return list(self._reports)


def ended_only(report: pb.TaskReport) -> pb.TaskReport:
    """The report without tasks that are under way: those come last, as their process writes them."""
    under_way = sum(1 for ended in report.ended_us if not ended)
    if not under_way:
        return report
    kept = pb.TaskReport()
    kept.CopyFrom(report)
    count = len(report.state) - under_way
    kept.ids = report.ids[: 24 * count]
    for column in (kept.name, kept.state, kept.attempt, kept.started_us, kept.ended_us):
        del column[count:]
    return kept


def is_sound(report: pb.TaskReport) -> bool:
    """Whether the columns are equally long and name what there is."""
    count = len(report.state)
    columns = (report.name, report.attempt, report.started_us, report.ended_us)
    return (
        len(report.ids) == 24 * count
        and all(len(column) == count for column in columns)
        and all(at < len(report.names) for at in set(report.name))
        and all(trouble.index < count for trouble in report.troubles)
    )
