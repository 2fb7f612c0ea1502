"""What user code on this node measures: batches in, families for Prometheus out. Pure, and bounded whatever the batches say."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from manta.metrics import text
from manta.metrics.histogram import Histogram
from manta.rpc.v1 import channel_pb2 as pb

if TYPE_CHECKING:
    from prometheus_client import Metric

#: Metrics of the node; series of one of them; lines that all take together, and classes of a histogram.
MOST_METRICS: Final = 500
MOST_SERIES: Final = 1_000
MOST_LINES: Final = 2_000
MOST_CLASSES: Final = 100
#: Tags of a metric.
MOST_TAGS: Final = 16
MOST_NAME: Final = 200

_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")

#: Job and tags; for gauges the process's id in front, as each process has its own last value.
_Key = tuple[str, ...]


@dataclass(slots=True)
class _Metric:
    kind: int
    doc: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    values: dict[_Key, float] = field(default_factory=dict)
    histograms: dict[_Key, Histogram] = field(default_factory=dict)

    @property
    def lines(self) -> int:
        """Lines that one series takes."""
        return len(self.bounds) + 3 if self.kind == pb.UserMetric.KIND_HISTOGRAM else 1


class UserMetricBook:
    """Counters and histograms are added up over the processes of a job; a gauge is told for each process.

    What comes beyond a bound is dropped and counted: a tag that holds a user's id must not fill anybody's memory.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, _Metric] = {}
        self._lines = 0
        #: Measurements dropped, by reason.
        self.dropped = {"metrics": 0, "series": 0, "conflict": 0, "malformed": 0}

    def add(self, batch: pb.UserMetrics, job: bytes, pid: int) -> None:
        """One process's batch."""
        self.dropped["series"] += batch.dropped_series
        self.dropped["metrics"] += batch.dropped_metrics
        for one in batch.metrics:
            found = self._find(one)
            if found is not None:
                for series in one.series:
                    self._add(found, one, series, job, pid)

    def _find(self, one: pb.UserMetric) -> _Metric | None:
        name = _NO_NAME.sub("_", one.name[:MOST_NAME])
        labels = tuple(_NO_NAME.sub("_", key) for key in one.tag_keys)
        bounds = tuple(one.bounds)
        gauge = one.kind == pb.UserMetric.KIND_GAUGE
        known = self._metrics.get(name)
        own = ("pid", "job_id") if gauge else ("job_id",)
        all_labels = (*own, *(f"tag_{label}" if label in own or not label else label for label in labels))
        if known is not None:
            if (known.kind, known.labels, known.bounds) == (one.kind, all_labels, bounds):
                return known
            self.dropped["conflict"] += len(one.series)
            return None
        if not (
            name
            and one.kind in (pb.UserMetric.KIND_COUNTER, pb.UserMetric.KIND_GAUGE, pb.UserMetric.KIND_HISTOGRAM)
            and len(labels) <= MOST_TAGS
            and len(set(all_labels)) == len(all_labels)
            and len(bounds) <= MOST_CLASSES
            and all(low < high for low, high in zip(bounds, bounds[1:], strict=False))
            and all(map(math.isfinite, bounds))
        ):
            self.dropped["malformed"] += len(one.series)
            return None
        if len(self._metrics) >= MOST_METRICS:
            self.dropped["metrics"] += len(one.series)
            return None
        doc = one.description[:MOST_NAME] or "Measured by user code."
        made = self._metrics[name] = _Metric(one.kind, doc, all_labels, bounds)
        return made

    def _add(self, found: _Metric, one: pb.UserMetric, series: pb.UserSeries, job: bytes, pid: int) -> None:
        own = (str(pid), job.hex()) if one.kind == pb.UserMetric.KIND_GAUGE else (job.hex(),)
        key = (*own, *(tag[: text.MOST_CHARACTERS] for tag in series.tags))
        value = series.value
        if len(key) != len(found.labels) or (value < 0 and one.kind == pb.UserMetric.KIND_COUNTER):
            self.dropped["malformed"] += 1
            return
        there: dict[_Key, float] | dict[_Key, Histogram] = found.values
        if one.kind == pb.UserMetric.KIND_HISTOGRAM:
            there = found.histograms
        if key not in there:
            if len(there) >= MOST_SERIES or self._lines + found.lines > MOST_LINES:
                self.dropped["series"] += 1
                return
            self._lines += found.lines
        if one.kind == pb.UserMetric.KIND_COUNTER:
            found.values[key] = found.values.get(key, 0.0) + value
        elif one.kind == pb.UserMetric.KIND_GAUGE:
            found.values[key] = value
        else:
            histogram = found.histograms.setdefault(key, Histogram(found.bounds))
            if not histogram.merge(series.counts, value):
                self.dropped["malformed"] += 1

    def keep(self, pids: Collection[int]) -> None:
        """Only these processes live: what others last measured is not so any more."""
        living = set(map(str, pids))
        for found in self._metrics.values():
            if found.kind == pb.UserMetric.KIND_GAUGE:
                gone = [key for key in found.values if key[0] not in living]
                for key in gone:
                    del found.values[key]
                self._lines -= len(gone)

    def families(self) -> Iterator[Metric]:
        """As Prometheus reads them: each under `manta_user_<name>`, so that it is never taken for one of ours."""
        for name, found in self._metrics.items():
            shown = f"manta_user_{name}"
            if found.kind == pb.UserMetric.KIND_COUNTER:
                yield text.counter(shown, found.doc, found.labels, found.values, most=MOST_SERIES)
            elif found.kind == pb.UserMetric.KIND_GAUGE:
                yield text.gauge(shown, found.doc, found.labels, found.values, most=MOST_SERIES)
            else:
                yield text.histogram(shown, found.doc, found.labels, found.histograms)
        doc = "Measurements of user code that were dropped: too many metrics or series, or of another kind than before."
        yield text.counter("manta_user_metrics_dropped", doc, ("reason",), self.dropped)
