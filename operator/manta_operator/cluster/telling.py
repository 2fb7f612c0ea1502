"""What people are told as Events: what became different between two statuses. Pure; at rest there is nothing to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manta_operator.builders.labels import Manifest
from manta_operator.cluster.reading import parts, text
from manta_operator.kube.events import WARNING, Event

_LENGTH = 1024


def events(before: Manifest, after: Manifest) -> list[Event]:
    """What to tell.

    Args:
        before: The status as it was; empty for a cluster that is new.
        after: The status as it is.
    """
    told = [*_conditions(before, after), *_groups(before, after), *_head(before, after)]
    return [Event(reason=one.reason, message=one.message[:_LENGTH], type=one.type) for one in told]


def _conditions(before: Manifest, after: Manifest) -> list[Event]:
    were = {text(one, "type"): one for one in parts(before, "conditions")}
    told = []
    for now in parts(after, "conditions"):
        was, kind = were.get(text(now, "type"), {}), text(now, "type")
        changed = text(now, "status") != text(was, "status")
        match kind, text(now, "status"):
            case "Degraded", "True" if changed or text(now, "reason") != text(was, "reason"):
                told.append(Event(reason=text(now, "reason"), message=text(now, "message"), type=WARNING))
            case "Degraded", "False" if changed and was:
                told.append(Event(reason="Recovered", message=f"no longer: {text(was, 'reason')}"))
            case "Ready", "True" if changed:
                told.append(Event(reason="Ready", message=text(now, "message")))
            case "Ready", "False" if text(was, "status") == "True" and text(now, "reason") != "Suspended":
                told.append(Event(reason="NotReady", message=text(now, "message")))
            case "Suspended", "True" if changed:
                told.append(Event(reason="Suspended", message=text(now, "message")))
            case "Suspended", "False" if text(was, "status") == "True":
                told.append(Event(reason="Resumed", message="the cluster is wanted again"))
            case "UpToDate", "False" if text(was, "status") == "True":
                told.append(Event(reason="Outdated", message=text(now, "message")))
    return told


def _groups(before: Manifest, after: Manifest) -> list[Event]:
    """Groups that are wanted in another size."""
    were: dict[str, Mapping[str, Any]] = {text(one, "name"): one for one in parts(before, "groups")}
    return [
        Event(reason="Scaling", message=f"workers of {name}: {text(were[name], 'desired')} -> {text(now, 'desired')}")
        for now in parts(after, "groups")
        if (name := text(now, "name")) in were and text(were[name], "desired") != text(now, "desired")
    ]


def _head(before: Manifest, after: Manifest) -> list[Event]:
    """A head of which something ended."""
    failure = text(after, "head", "lastFailure")
    if failure and failure != text(before, "head", "lastFailure"):
        return [Event(reason="HeadFailed", message=failure, type=WARNING)]
    return []
