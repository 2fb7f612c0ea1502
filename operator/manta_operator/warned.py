"""Events of others that say why a pod or a claim of ours does not come: which of a namespace's are kept, and what of each.

A kubelet that cannot mount a volume, and a provisioner that has no StorageClass, say so nowhere else. Events are many, though:
those of type Warning alone are read, less the reasons that pods give all day; and of these the ones are kept that are about a pod
or a claim of a cluster, for a reason that somebody reads here. Which clusters there are is therefore read before. An Event that
comes before its cluster is known is missed until it comes again: whoever is in trouble says so every two minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from manta_operator.kube.resources import CLAIMS, PODS, Key, key_of
from manta_operator.kube.store import Store

#: What the API server sends: the three reasons that are said most often are read from the pod itself.
FIELDS: Final = "type=Warning,reason!=BackOff,reason!=Unhealthy,reason!=Failed"
#: Index: by the UID of whatever an event is about.
BY_ABOUT: Final = "about"
#: Index of MantaClusters: by the claim of the user's that the spec names, as `namespace/name`.
BY_CLAIM: Final = "claim"
#: Events that are kept at most, in all namespaces together; some hundred bytes each.
MOST: Final = 20_000
#: The longest text that is kept of one, in characters.
_LENGTH: Final = 700

#: Reasons that `cluster.causes` reads, by the kind of what they are about.
REASONS: Final[Mapping[str, frozenset[str]]] = {
    PODS.kind: frozenset({"FailedScheduling", "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}),
    CLAIMS.kind: frozenset({"ProvisioningFailed", "FailedBinding"}),
}

Raw = dict[str, Any]


def trim(event: Raw) -> Raw:
    """What it is about, what it says, and when it was said last: `at`, in RFC 3339."""
    metadata = event["metadata"]
    about = event.get("regarding") or {}
    said = event.get("series") or {}
    at = said.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime")
    return {
        "metadata": {
            name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion") if name in metadata
        },
        "regarding": {name: about[name] for name in ("kind", "name", "uid") if name in about},
        "reason": event.get("reason") or "",
        "note": str(event.get("note") or "")[:_LENGTH],
        "at": at or metadata.get("creationTimestamp") or "",
    }


def about(event: Raw) -> list[str]:
    """Index: the UID of what it is about."""
    uid = (event.get("regarding") or {}).get("uid")
    return [uid] if uid else []


def claimed(cluster: Raw) -> list[str]:
    """Index of MantaClusters: the claim that is named, whatever else is in such a spec."""
    found: Any = cluster.get("spec")
    for name in ("head", "storage", "existingClaim"):
        found = found.get(name) if isinstance(found, dict) else None
    return [f"{cluster['metadata'].get('namespace', '')}/{found}"] if isinstance(found, str) else []


def keeps(clusters: Store, kept: Store, event: Raw) -> bool:
    """Whether an event is kept: it may be about what is a cluster's, and there is room.

    Args:
        clusters: The MantaClusters there are.
        kept: The events that are kept already.
        event: Whole or trimmed.
    """
    kind = str((event.get("regarding") or {}).get("kind"))
    if event.get("reason") not in REASONS.get(kind, ()) or not clusters_of(clusters, event):
        return False
    return len(kept) < MOST or kept.get(key_of(event)) is not None


def clusters_of(clusters: Store, event: Raw) -> list[Key]:
    """Whose an event may be, by the name of what it is about: the pod itself may not have been seen yet.

    Args:
        clusters: The MantaClusters there are.
        event: Whole or trimmed.
    """
    about, namespace = event.get("regarding") or {}, event["metadata"].get("namespace", "")
    name = str(about.get("name") or "")
    # `a-b-w-0` may be of the cluster `a-b`, or of `a` and its group `b-w`.
    parts = name.split("-")
    begins = (Key(namespace, "-".join(parts[:count])) for count in range(1, len(parts)))
    found = [key for key in begins if clusters.get(key) is not None]
    if about.get("kind") == CLAIMS.kind:
        found += map(key_of, clusters.by(BY_CLAIM, f"{namespace}/{name}"))
    return list(dict.fromkeys(found))
