"""Definitions of the Prometheus operator's kinds, as far as the charts use them: what is not in them is refused like a typo.

The real ones are large, and come from a place that tests do not reach. Names and types are those of monitoring.coreos.com/v1.
"""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
DURATION: dict[str, Any] = {
    "type": "string",
    "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$",
}
FLAG: dict[str, Any] = {"type": "boolean"}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}


def _some(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


RELABELING = _some(
    sourceLabels=_list(TEXT),
    targetLabel=TEXT,
    regex=TEXT,
    replacement=TEXT,
    separator=TEXT,
    action={"type": "string", "enum": ["replace", "keep", "drop", "labelmap", "labeldrop", "labelkeep", "hashmod"]},
)
AUTHORIZATION = _some(type=TEXT, credentials=_some(name=TEXT, key=TEXT, optional=FLAG))
ENDPOINT = _some(
    port=TEXT,
    path=TEXT,
    scheme={"type": "string", "enum": ["http", "https"]},
    interval=DURATION,
    scrapeTimeout=DURATION,
    honorLabels=FLAG,
    authorization=AUTHORIZATION,
    relabelings=_list(RELABELING),
    metricRelabelings=_list(RELABELING),
)
RULE = _some(
    alert=TEXT,
    record=TEXT,
    expr={"x-kubernetes-int-or-string": True},
    annotations=TEXTS,
    labels=TEXTS,
    **{"for": DURATION},
)
GROUP = {**_some(name={"type": "string", "minLength": 1}, rules=_list(RULE), interval=DURATION), "required": ["name"]}

SPECS: dict[str, dict[str, Any]] = {
    "ServiceMonitor": _some(
        jobLabel=TEXT, selector=_some(matchLabels=TEXTS), namespaceSelector=_some(any=FLAG, matchNames=_list(TEXT)),
        endpoints=_list(ENDPOINT),
    ),
    "PodMonitor": _some(
        jobLabel=TEXT, selector=_some(matchLabels=TEXTS), namespaceSelector=_some(any=FLAG, matchNames=_list(TEXT)),
        podMetricsEndpoints=_list(ENDPOINT),
    ),
    "PrometheusRule": _some(groups=_list(GROUP)),
}  # fmt: skip


def definitions() -> list[dict[str, Any]]:
    """As they are applied."""
    return [_definition(kind, spec) for kind, spec in SPECS.items()]


def _definition(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.monitoring.coreos.com",
            # The API server asks for it where a definition's group is not its maker's own.
            "annotations": {"api-approved.kubernetes.io": "unapproved, stands in for the real one"},
        },
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [version],
        },
    }
