"""Expressions of dashboards and alerts, and which series they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from tests.charts.rendering import CHARTS

DASHBOARDS = CHARTS["manta-operator"] / "dashboards"
ALERTS = CHARTS["manta-operator"] / "alerts.yaml"

#: What Grafana puts in place of its variables, for a cluster called `demo` in namespace `default`.
_CHOSEN = {
    "$__rate_interval": "30s",
    "$namespace": "default",
    "$cluster": "demo",
    "$pod": ".*",
}
_SELECTOR = re.compile(r"\b([a-z_:][a-z0-9_:]*)\{([^{}]*)\}")
_MATCHER = re.compile(r'([a-z_]+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
#: Labels that come from how a target was found, not from what it tells.
TARGET_LABELS = frozenset({"job", "namespace", "pod", "container", "instance", "node", "manta_cluster", "manta_group"})


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric with conditions.

    Attributes:
        metric: As Prometheus has it, `_bucket` and `_total` included.
        matchers: Triples of a label, an operator and a text.
    """

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        inner = ",".join(f'{label}{operator}"{text}"' for label, operator, text in self.matchers)
        return f"{self.metric}{{{inner}}}"


def selectors(expression: str) -> list[Selector]:
    """Every series that an expression names; ours all have conditions."""
    return [Selector(metric, tuple(_MATCHER.findall(inner))) for metric, inner in _SELECTOR.findall(expression)]


def chosen(expression: str, namespace: str = "default") -> str:
    """An expression as Grafana asks it."""
    for name, text in {**_CHOSEN, "$namespace": namespace}.items():
        expression = expression.replace(name, text)
    return expression


def panels() -> Iterator[tuple[str, str]]:
    """Every panel's queries: where it is, and the expression."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.stem}: {panel['title']}", target["expr"]


def variables() -> Iterator[tuple[str, str]]:
    """Every variable's query, as an expression that has the series it takes its values from."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                [found] = re.findall(r"^label_values\((.*), \w+\)$", variable["query"]["query"])
                yield f"{path.stem}: {variable['name']}", found


def alerts() -> Iterator[tuple[str, str]]:
    """Every alert's expression."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def everything() -> list[tuple[str, str]]:
    """All of them, as Prometheus would be asked."""
    return [(where, chosen(expression)) for source in (panels(), variables(), alerts()) for where, expression in source]
