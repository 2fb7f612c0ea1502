"""Numbers as prometheus-client's families, and those as text. The library is loaded when a port opens, not before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from manta.metrics.histogram import Histogram

if TYPE_CHECKING:
    from prometheus_client import Metric

#: What the text is.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: Values of one label, at most; what comes beyond them is added up under `OTHER`.
MOST_VALUES: Final = 100
OTHER: Final = "other"
#: Characters of a label's value that are shown.
MOST_CHARACTERS: Final = 128

#: One label's value, or several labels' in the order of their names.
Labels = str | tuple[str, ...]
Key = TypeVar("Key", bound=Labels)


def load() -> None:
    """Load the library now: the first scrape should not wait for it, *measured* 0.15 s on a busy machine."""
    import prometheus_client  # noqa: F401


def gauge(name: str, doc: str, labels: tuple[str, ...], values: Mapping[Key, float], most: int = MOST_VALUES) -> Metric:
    """What can go up and down, by labels."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, doc, labels=labels)
    for key, value in bounded(values, most).items():
        family.add_metric(key, value)
    return family


def counter(
    name: str, doc: str, labels: tuple[str, ...], values: Mapping[Key, float], most: int = MOST_VALUES
) -> Metric:
    """What only goes up, by labels; `_total` is added to its name."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, doc, labels=labels)
    for key, value in bounded(values, most).items():
        family.add_metric(key, value)
    return family


def histogram(name: str, doc: str, labels: tuple[str, ...], values: Mapping[Key, Histogram]) -> Metric:
    """Durations or sizes, by labels. There must be few of them: each is a line per bound."""
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, doc, labels=labels)
    for key, one in values.items():
        family.add_metric(_tuple(key), one.cumulative(), one.total)
    return family


def bounded(values: Mapping[Key, float], most: int = MOST_VALUES) -> dict[tuple[str, ...], float]:
    """At most so many series: the first ones, and the sum of the others under `OTHER`.

    Whoever names resources or methods must not be able to fill Prometheus's memory with names.
    """
    kept: dict[tuple[str, ...], float] = {}
    for key, value in values.items():
        labels = tuple(text[:MOST_CHARACTERS] for text in _tuple(key))
        if labels not in kept and len(kept) >= most:
            # The first label names the thing; what follows it ("total", "used") has few values of ours, and stays.
            labels = (OTHER, *labels[1:])
        kept[labels] = kept.get(labels, 0.0) + value
    return kept


def _tuple(key: Labels) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


def render(collect: Callable[[], Iterable[Metric]]) -> bytes:
    """Everything as text that Prometheus reads."""
    from prometheus_client import CollectorRegistry, generate_latest

    # A registry of its own for each text: the library's own numbers about the process would be under other names.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(collect))
    return generate_latest(registry)


class _Collector:
    """What prometheus-client asks for families."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect

    def describe(self) -> list[Metric]:
        """Nothing: else registering would collect once more."""
        return []
