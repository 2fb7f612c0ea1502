"""Folders that tasks and actors are to have: put into the cluster as objects of this process, once for each session."""

from __future__ import annotations

import base64
import hashlib
import json
from weakref import WeakKeyDictionary

from manta.client import archives
from manta.core.environment import PY_MODULES, WORKING_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from manta.client.session import Session

#: By session: what was put, by path, what was left out of it, and whether its name came along.
_put: WeakKeyDictionary[Any, dict[tuple[Any, ...], dict[str, str]]] = WeakKeyDictionary()


def uploaded(session: Session, environment: Mapping[str, str]) -> dict[str, str]:
    """A worker's environment whose folders are in the cluster: what `core.options.environments` made, with refs for paths.

    A folder travels as it is now: a second task finds what the first one found. It is this process's object, and there as long as
    this process is.

    Raises:
        ValueError: A folder is not there, or too large.
    """
    found = dict(environment)
    for name in (WORKING_DIR, PY_MODULES):
        if name in found:
            found[name] = json.dumps([_entry(session, one) for one in json.loads(found[name])], sort_keys=True)
    return found


def _entry(session: Session, wanted: dict[str, Any]) -> dict[str, str]:
    if "ref" in wanted:
        return wanted
    path, excludes, named = wanted["path"], tuple(wanted["excludes"]), bool(wanted.get("named"))
    mine = _put.setdefault(session, {})
    key = (path, excludes, named)
    if key not in mine:
        data = archives.read(path, excludes, named=named)
        ref = session.put(data)
        # Written out, it is kept for as long as this process has its session.
        _, written = ref.__reduce__()
        mine[key] = {
            "hash": hashlib.sha256(data).hexdigest(),
            "ref": base64.b64encode(b"".join(written)).decode(),
        }
    return mine[key]
