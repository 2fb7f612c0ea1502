"""When a pod is of another spec than the one that is wanted: a hash of what the user said, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.field import fields_of, is_resource
from manta_operator.api.head import Head, StorageType
from manta_operator.api.render import render
from manta_operator.api.workers import WorkerGroup
from manta_operator.builders import labels

_LENGTH = 10
#: Of a group, what no pod of it shows.
_NOT_IN_PODS = ("name", "replicas", "minReplicas", "maxReplicas")


def revision(cluster: MantaCluster, part: Head | WorkerGroup) -> str:
    """The revision of the head's pod, or of a group's pods. It goes into a label.

    Values that are as they would be if nobody had said them are left out: neither a new field with a default, nor another
    operator, makes a revision. How many replicas there are is no part of it.
    """
    spec = cluster.spec
    said_of_all = {
        "image": spec.image,
        "imagePullSecrets": render(spec.image_pull_secrets),
        "auth": str(spec.auth.mode),
        "tls": spec.tls.enabled,
        "restart": cluster.metadata.annotations.get(labels.RESTART, ""),
    }
    text = json.dumps([said_of_all, _of(cluster, part)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _of(cluster: MantaCluster, part: Head | WorkerGroup) -> dict[str, Any]:
    if isinstance(part, WorkerGroup):
        return {name: value for name, value in said(part).items() if name not in _NOT_IN_PODS}
    storage = part.storage
    return {
        **{name: value for name, value in said(part).items() if name in ("resources", "template", "raylet")},
        "names": list(cluster.spec.tls.extra_sans),
        "claim": storage.existing_claim or "",
        # A claim grows under a running pod; an emptyDir does not.
        "emptyDir": str(storage.size) if storage.type is StorageType.EMPTY_DIR else "",
    }


def said(value: Any) -> Any:
    """A value of our types as JSON, without what is as its default."""
    if is_resource(type(value)):
        found = {}
        for one in fields_of(type(value)):
            inner = getattr(value, one.attribute)
            spoken = said(inner)
            if one.required or (inner != one.default and spoken != {}):
                found[one.name] = spoken
        return found
    if isinstance(value, Mapping):
        # null is as good as nothing, as for the API server.
        return {str(name): said(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [said(inner) for inner in value]
    return render(value)
