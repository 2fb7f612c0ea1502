"""What the operator may do: the table from which the chart's roles are made.

A test compares it with what the API server's audit log says the operator has asked for: a row that nobody needs is as wrong as
one that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Scope(Enum):
    """Where a row holds."""

    #: In each namespace that is looked after: a ClusterRole, or a Role in each of them.
    WATCHED = "watched"
    #: In no namespace: a ClusterRole, and what goes without where there is none.
    CLUSTER = "cluster"
    #: In the namespace of the Lease: a Role there.
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Permission:
    """What may be done with a kind.

    Attributes:
        group: The API group; empty for the core.
        resource: Plural, with the subresource after a slash.
        verbs: Sorted.
        scope: Where.
        unseen: Verbs that the API server checks without a request of their own: an apply that creates is a patch in its log.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    scope: Scope = Scope.WATCHED
    unseen: tuple[str, ...] = ()


_MANTA = "manta.compute"

TABLE: tuple[Permission, ...] = (
    Permission(_MANTA, "mantaclusters", ("get", "list", "watch")),
    Permission(_MANTA, "mantaclusters/status", ("patch",)),
    # Where the admission plugin OwnerReferencesPermissionEnforcement is on (OpenShift), whoever says that an owner's end waits
    # for what it owns must be allowed to set the owner's finalizers. Nothing sets any.
    Permission(_MANTA, "mantaclusters/finalizers", (), unseen=("update",)),
    # Patched for its finalizer, deleted when its time after the end is over.
    Permission(_MANTA, "mantajobs", ("delete", "list", "patch", "watch")),
    Permission(_MANTA, "mantajobs/status", ("patch",)),
    # Labels that somebody took from them are put back: hence the patch.
    Permission("", "pods", ("create", "delete", "get", "list", "patch", "watch")),
    Permission("", "secrets", ("create", "get", "list", "patch", "watch")),
    Permission("", "services", ("get", "list", "patch", "watch"), unseen=("create",)),
    Permission("", "persistentvolumeclaims", ("get", "list", "patch", "watch"), unseen=("create",)),
    Permission("", "serviceaccounts", ("get", "list", "patch", "watch"), unseen=("create",)),
    Permission("networking.k8s.io", "networkpolicies", ("delete", "get", "list", "patch", "watch"), unseen=("create",)),
    # Read for what others say of pods and claims: why a volume does not come.
    Permission("events.k8s.io", "events", ("create", "list", "watch")),
    Permission("", "nodes", ("list", "watch"), Scope.CLUSTER),
    Permission("coordination.k8s.io", "leases", ("create", "get", "update"), Scope.LEASE),
)


def rules(*scopes: Scope) -> list[dict[str, Any]]:
    """The rules of a Role or ClusterRole for these scopes; kinds of a group with the same verbs are one rule."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for one in TABLE:
        if one.scope in scopes:
            found.setdefault((one.group, tuple(sorted((*one.verbs, *one.unseen)))), []).append(one.resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
        for (group, verbs), resources in found.items()
    ]
