"""Writes what the operator may do into its chart, from operator/manta_operator/permissions.py: `python tools/chart_rules.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "runtime")]

from manta_operator.permissions import Scope, rules  # noqa: E402 - from this checkout

FILE = ROOT / "charts/manta-operator/templates/_rules.tpl"

_HEAD = """\
{{/* Made from operator/manta_operator/permissions.py by tools/chart_rules.py; a test compares. Change the table, not this. */}}
"""
_WATCHED = "In each namespace that is watched."
_CLUSTER = "Besides, where all namespaces are watched: these are in none."
_LEASE = "Where the Lease is. A create has no name that a rule could look at."


def content() -> str:
    """The file, to the byte."""
    lease = [part for rule in rules(Scope.LEASE) for part in _of_one_name(rule)]
    parts = [
        _template("namespacedRules", _WATCHED, rules(Scope.WATCHED)),
        _template("clusterRules", _CLUSTER, rules(Scope.CLUSTER)),
        _template("leaderRules", _LEASE, lease),
    ]
    return _HEAD + "\n".join(["", *parts])


def _of_one_name(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """A rule that holds for the operator's own Lease alone, as far as that can be said."""
    others = [verb for verb in rule["verbs"] if verb != "create"]
    named = {**rule, "resourceNames": ['{{ include "manta-operator.name" . }}'], "verbs": others}
    return [{**rule, "verbs": ["create"]}, named] if "create" in rule["verbs"] else [named]


def _template(name: str, about: str, content: Sequence[dict[str, Any]]) -> str:
    lines = [f"{{{{/* {about} */}}}}", f'{{{{- define "manta-operator.{name}" -}}}}']
    for rule in content:
        lines.append(f"- apiGroups: {_list(rule['apiGroups'])}")
        lines += [f"  {key}: {_list(rule[key])}" for key in ("resources", "resourceNames", "verbs") if key in rule]
    return "\n".join([*lines, "{{- end }}", ""])


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(text or chr(34) * 2 for text in texts)}]"


def main() -> None:
    """Write it."""
    FILE.write_text(content())


if __name__ == "__main__":
    main()
