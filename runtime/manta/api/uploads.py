"""Folders that tasks and actors are to have: put into the cluster as objects of this process, once for each session.

A detached actor goes on without this process: control keeps its folders, in pieces, as long as the actor may be started again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from weakref import WeakKeyDictionary

from manta.client import archives
from manta.client.refs import SIZE, rebuild
from manta.core import errors
from manta.core.environment import PY_MODULES, WORKING_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from manta.client.session import Session

#: Archives of a detached actor's folders that are larger together stay with who put them: what control keeps is in its memory.
KEPT_BYTES = 64 << 20
#: One such piece. It is one call to control.
PIECE_BYTES = 1 << 20
#: By session: what was put, by path, what was left out of it, and whether its name came along.
_put: WeakKeyDictionary[Any, dict[tuple[Any, ...], dict[str, Any]]] = WeakKeyDictionary()
#: By session: pieces that control has for its job, by the archive's hash.
_pieces: WeakKeyDictionary[Any, dict[str, list[str]]] = WeakKeyDictionary()


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


def kept(session: Session, environment: bytes) -> tuple[bytes, list[bytes]]:
    """A worker's environment whose folders are with control, too, and the hashes of their pieces, which the actor has to name.

    Folders that are too large for that, or whose job is over, are as they were: they end with who put them.

    Args:
        session: A driver's or worker's.
        environment: Encoded; what `uploaded` made is in it.
    Raises:
        LimitExceededError: Control keeps as much as it may already.
    """
    found = json.loads(environment) if environment else {}
    variables = found.get("env_vars", {})
    entries = {name: json.loads(variables[name]) for name in (WORKING_DIR, PY_MODULES) if name in variables}
    folders = [entry for some in entries.values() for entry in some]
    if not folders or sum(entry["size"] for entry in folders) > KEPT_BYTES:
        return environment, []
    try:
        for entry in folders:
            if "pieces" not in entry:  # else they are those of the actor that this is a child of
                entry["pieces"] = _kept(session, entry)
    except errors.MantaError as refused:
        if refused.code not in ("JOB_FINISHED", "JOB_NOT_FOUND"):
            raise
        return environment, []
    variables.update((name, json.dumps(some, sort_keys=True)) for name, some in entries.items())
    hashes = [bytes.fromhex(piece) for entry in folders for piece in entry["pieces"]]
    return json.dumps(found, sort_keys=True).encode(), hashes


def forget_kept(session: Session) -> None:
    """Control was started again, and may not have them any more."""
    _pieces.pop(session, None)


def _kept(session: Session, entry: dict[str, Any]) -> list[str]:
    mine = _pieces.setdefault(session, {})
    if entry["hash"] not in mine:
        from manta.rpc.v1 import control_pb2 as ctl

        written = base64.b64decode(entry["ref"])
        data = session.get_one(rebuild(written[:SIZE], written[SIZE:]), None)
        hashes = []
        for start in range(0, len(data), PIECE_BYTES):
            piece = bytes(data[start : start + PIECE_BYTES])
            request = ctl.PutFunctionRequest(
                request_id=os.urandom(16),
                job_id=session.welcome.job_id,
                function_hash=hashlib.sha256(piece).digest(),
                blob=piece,
            )
            session.control("PutFunction", request, ctl.PutFunctionResponse)
            hashes.append(request.function_hash.hex())
        mine[entry["hash"]] = hashes
    return mine[entry["hash"]]


def _entry(session: Session, wanted: dict[str, Any]) -> dict[str, Any]:
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
            "size": len(data),
        }
    return mine[key]
