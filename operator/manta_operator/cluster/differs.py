"""Whether an object is as it is applied, so that at rest nothing is written.

Two questions, as neither alone suffices. *Do we want something else than last time?* A hash of what was applied, kept in an
annotation of the object, says so; it also notices what is no longer wanted, such as an annotation of a Service. *Has somebody
changed what we want?* Each field that we apply is compared with what is there. Fields that we do not apply are nobody's business:
the API server fills in defaults, and others may add theirs.

The rejected alternative is to read `managedFields`: it says who wrote a field, not whether it has the value that we want, and it
is half of an object's size in memory.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from manta_operator.api import quantity
from manta_operator.builders.labels import Manifest

#: Annotation with the hash of what was applied last.
APPLIED = "manta.compute/applied"
#: By what the items of a list are told apart, the first that all of them have.
_KEYS = ("name", "uid", "port", "key", "ip")


def stamped(wanted: Manifest) -> Manifest:
    """An object with the hash of itself. Whose it is counts, not by which UID: the same of another cluster has the same hash."""
    metadata = wanted["metadata"]
    owned = {**metadata, "ownerReferences": len(metadata.get("ownerReferences") or ())}
    text = json.dumps({**wanted, "metadata": owned}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    annotations = {**(metadata.get("annotations") or {}), APPLIED: digest}
    return {**wanted, "metadata": {**metadata, "annotations": annotations}}


def differs(there: Manifest, wanted: Manifest) -> bool:
    """Whether an object has to be applied again.

    Args:
        there: As the API server has it.
        wanted: As `stamped` returns it.
    """
    return not _within(
        {name: value for name, value in wanted.items() if name not in ("apiVersion", "kind")},
        there,
    )


def _within(wanted: Any, there: Any) -> bool:
    """Whether all that is wanted is there; empty things are the same as none, as for the API server."""
    if wanted == there:
        return True  # nearly always, and quickly found out
    if wanted is None or wanted == {} or wanted == [] or wanted == "":
        # An empty selector and no selector differ to Kubernetes, but only one of them is ever wanted at a given place.
        return there is None or isinstance(wanted, dict)
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(_within(value, there.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return isinstance(there, list | tuple) and _items_within(list(wanted), list(there))
    return isinstance(wanted, str) and isinstance(there, str) and _same_amount(wanted, there)


def _items_within(wanted: list[Any], there: list[Any]) -> bool:
    key = next((key for key in _KEYS if all(isinstance(one, dict) and key in one for one in (*wanted, *there))), None)
    if key is None:
        return len(wanted) == len(there) and all(_within(one, other) for one, other in zip(wanted, there, strict=True))
    found = {str(one[key]): one for one in there}
    return all(_within(one, found.get(str(one[key]))) for one in wanted)


def _same_amount(one: str, other: str) -> bool:
    """The API server writes amounts in its own way: 1024Mi becomes 1Gi."""
    try:
        return quantity.amount(one) == quantity.amount(other)
    except ValueError:
        return False
