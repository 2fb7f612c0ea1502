"""Counters, gauges and histograms of user code, as `ray.util.metrics` has them; any task, actor or driver may measure.

Measuring is local and cheap. About once a second a process sends what has changed to its raylet, whose metrics port tells it to
Prometheus as `manta_user_<name>`, with the job and the tags as labels. A raylet keeps a bounded number of series.
"""

from __future__ import annotations

import threading
from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from manta.rpc.v1 import channel_pb2 as pb

__all__ = ["Counter", "Gauge", "Histogram"]

#: Metrics of a process, and series of one of them, that are sent in one batch, at most; and how many wait at most. What comes
#: beyond is dropped and counted.
MOST_METRICS = 500
MOST_SERIES = 1_000

#: Values of a metric's tags.
Tags = tuple[str, ...]


class Metric:
    """What the three have in common.

    Args:
        name: What is measured.
        description: For people.
        tag_keys: Names of the tags that every measurement carries.
    """

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        if len(name) == 0:
            raise ValueError("Empty name is not allowed. Please provide a metric name.")
        self._name = name
        self._description = description
        self._default_tags: dict[str, str] = {}
        self._tag_keys: tuple[str, ...] = tag_keys or ()
        if not isinstance(self._tag_keys, tuple):
            raise TypeError(f"tag_keys should be a tuple type, got: {type(self._tag_keys)}")
        for key in self._tag_keys:
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, got {type(key)}.")

    def set_default_tags(self, default_tags: dict[str, str]) -> Metric:
        """Tags for measurements that say nothing else.

        Raises:
            ValueError: A tag is none of the metric's.
            TypeError: A value is no text.
        """
        self._check(default_tags)
        self._default_tags = default_tags
        return self

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def _check(self, tags: dict[str, str]) -> None:
        for key, value in tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")

    def _values_of(self, tags: dict[str, str] | None) -> Tags:
        """The tags' values in the order of the keys."""
        if tags:
            self._check(tags)
            tags = {**self._default_tags, **tags}
        else:
            tags = self._default_tags
        missing = [key for key in self._tag_keys if key not in tags]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        return tuple([tags[key] for key in self._tag_keys])

    def __reduce__(self) -> tuple[Callable[..., Metric], tuple[Any, ...]]:
        return _remake, (type(self), self._arguments(), self._default_tags)

    def _arguments(self) -> tuple[Any, ...]:
        return (self._name, self._description, self._tag_keys)


class Counter(Metric):
    """Adds up: `inc` by more than nothing."""

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add to it.

        Raises:
            TypeError, ValueError: The value is no number above 0, or a tag is missing or none of the metric's.
        """
        _check_number(value)
        if value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        _record(("counter", self._name, self._description, self._tag_keys, ()), self._values_of(tags), value)


class Gauge(Metric):
    """What is now: the last value that a process `set` counts."""

    def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
        """It is this now; None changes nothing.

        Raises:
            TypeError, ValueError: The value is no number, or a tag is missing or none of the metric's.
        """
        if value is None:
            return
        _check_number(value)
        _record(("gauge", self._name, self._description, self._tag_keys, ()), self._values_of(tags), value)


class Histogram(Metric):
    """How many values fell between which bounds.

    Args:
        name: What is measured.
        description: For people.
        boundaries: Upper bounds of the classes, all above 0, ascending.
        tag_keys: As of all metrics.
    """

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(name, description, tag_keys)
        if boundaries is None or len(boundaries) == 0:
            raise ValueError(
                "boundaries argument should be provided when using the Histogram class. "
                'e.g., Histogram("name", boundaries=[1.0, 2.0])'
            )
        for index, boundary in enumerate(boundaries):
            if boundary <= 0:
                raise ValueError(
                    f"Invalid `boundaries` argument at index {index}, {boundaries}. Use positive numbers for the arguments."
                )
        self.boundaries = list(boundaries)
        self._bounds = tuple(sorted({float(bound) for bound in boundaries}))

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """One more value.

        Raises:
            TypeError, ValueError: The value is no number, or a tag is missing or none of the metric's.
        """
        _check_number(value)
        about = ("histogram", self._name, self._description, self._tag_keys, self._bounds)
        _record(about, self._values_of(tags), value)

    @property
    def info(self) -> dict[str, Any]:
        """As of all metrics, and the boundaries."""
        return {**super().info, "boundaries": self.boundaries}

    def _arguments(self) -> tuple[Any, ...]:
        return (self._name, self._description, self.boundaries, self._tag_keys)


def _check_number(value: object) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"value must be int or float, got {type(value)}.")


def _remake(kind: type[Metric], arguments: tuple[Any, ...], default_tags: dict[str, str]) -> Metric:
    metric = kind(*arguments)
    metric._default_tags = default_tags
    return metric


# -- what was measured since the last batch; of the process, as two objects of one name are one metric

#: Kind, name, description, tag keys, bounds.
_About = tuple[str, str, str, tuple[str, ...], tuple[float, ...]]

_lock = threading.Lock()
_gathered: dict[_About, dict[Tags, Any]] = {}
_dropped = {"series": 0, "metrics": 0}
#: The session that sends it.
_sender: Any = None


def _record(about: _About, tags: Tags, value: float) -> None:
    with _lock:
        series = _gathered.get(about)
        if series is None:
            series = {}
            if len(_gathered) < MOST_METRICS:
                _gathered[about] = series
            else:
                _dropped["metrics"] += 1
        if tags not in series and len(series) >= MOST_SERIES:
            _dropped["series"] += 1
        else:
            kind = about[0]
            if kind == "counter":
                series[tags] = series.get(tags, 0.0) + value
            elif kind == "gauge":
                series[tags] = value
            else:
                counts = series.get(tags)
                if counts is None:
                    counts = series[tags] = [0.0, [0] * (len(about[4]) + 1)]
                counts[0] += value
                counts[1][bisect_left(about[4], value)] += 1
    _ask_to_send()


def _ask_to_send() -> None:
    global _sender
    from manta.client import current

    session: Any = current.session
    if session is None:
        return  # until there is one
    reporter = session.reporter
    if session is not _sender:
        _sender = session
        with session.lock:
            if _take not in reporter.sources:
                reporter.sources.append(_take)
    if not reporter.dirty:
        with session.lock:
            reporter.wants()


def _take() -> pb.UserMetrics | None:
    """What was gathered, as a frame. Called under the session's lock."""
    from manta.rpc.v1 import channel_pb2 as pb

    with _lock:
        gathered = dict(_gathered)
        _gathered.clear()
        batch = pb.UserMetrics(dropped_series=_dropped["series"], dropped_metrics=_dropped["metrics"])
        _dropped.update(series=0, metrics=0)
    if not gathered:
        return None
    for (kind, name, description, tag_keys, bounds), series in gathered.items():
        metric = batch.metrics.add(
            name=name,
            kind=pb.UserMetric.Kind.Value(f"KIND_{kind.upper()}"),
            description=description,
            tag_keys=tag_keys,
            bounds=bounds,
        )
        for tags, value in series.items():
            if kind == "histogram":
                metric.series.add(tags=tags, value=value[0], counts=value[1])
            else:
                metric.series.add(tags=tags, value=value)
    return batch
