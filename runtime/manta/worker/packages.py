"""The folders that a worker's environment names: fetched from who put them, unpacked once for each node, under their hash.

A worker that uses a folder holds a lock on it for life, so that one that nobody uses any more can be told and removed.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from manta.client.refs import SIZE, rebuild
from manta.client.user import UserSession
from manta.core import errors
from manta.core.environment import PY_MODULES, SETUP_TIMEOUT, WORKING_DIR
from manta.core.options.environments import SETUP_S
from manta.jobs import packages
from manta.rpc.v1 import control_pb2 as ctl

#: In the folder of the session: Ray's name for it.
FOLDER: Final = "runtime_resources"
#: Bytes of archives whose folders are kept on a node although nobody uses them.
MOST_KEPT: Final = 10 << 30
_PAUSE_S: Final = 0.02
_HASH: Final = re.compile("[0-9a-f]{64}")
#: Descriptors of locks, held until this process ends.
_held: list[int] = []


def set_up(session: UserSession, driver_folder: str) -> str:
    """Be in the folder, and import from those, that the environment names. Why that cannot be; empty when it is so.

    Args:
        session: Connected; nothing runs yet.
        driver_folder: Where the driver is.
    """
    seconds = int(os.environ.pop(SETUP_TIMEOUT, SETUP_S))
    deadline = None if seconds < 0 else session.now() + seconds
    places = {name: json.loads(os.environ.pop(name, "[]")) for name in (WORKING_DIR, PY_MODULES)}
    keep = Path(session.welcome.session_dir) / FOLDER
    try:
        keep.mkdir(mode=0o700, exist_ok=True)
        found = {name: [_place(session, keep, one, deadline) for one in all_of] for name, all_of in places.items()}
        import_from = [str(path) for paths in found.values() for path in paths]
        for path in found[WORKING_DIR]:
            os.chdir(_of_job(session, driver_folder, path) or path)
    except errors.GetTimeoutError:
        return (
            f"the folders of runtime_env were not here {seconds} s after a worker had asked for them; "
            "runtime_env['config']['setup_timeout_seconds'] is for how long it waits"
        )
    except (errors.MantaError, OSError) as wrong:
        return f"a folder of runtime_env could not be fetched or unpacked: {wrong}"
    sys.path[:0] = import_from
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*import_from, os.environ.get("PYTHONPATH", "")]))
    return ""


def _of_job(session: UserSession, driver_folder: str, path: Path) -> str:
    """A submitted job's own folder, where the driver is, if it is the same upload: what its entrypoint wrote is there too."""
    try:
        ours = driver_folder.startswith(os.path.join(session.welcome.session_dir, "jobs", ""))
        return driver_folder if ours and packages.mark(Path(driver_folder)).read_text() == path.name else ""
    except OSError:
        return ""  # the head's folder, and this is another node


def _place(session: UserSession, keep: Path, entry: Mapping[str, Any], deadline: float | None) -> Path:
    """The folder of one upload, whole and this worker's for as long as it lives."""
    name = str(entry["hash"])
    if not _HASH.fullmatch(name):
        raise errors.RaySystemError(f"{name!r:.100} is no SHA-256 in hexadecimal")
    into = keep / name
    lock = os.open(keep / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            _lock(session, lock, fcntl.LOCK_SH, deadline)
            if into.is_dir():
                os.utime(lock)
                _held.append(lock)
                return into
            # Not upgraded: two that wait for each other's shared lock would wait for ever.
            fcntl.flock(lock, fcntl.LOCK_UN)
            if not _lock(session, lock, fcntl.LOCK_EX, session.now() + _PAUSE_S, wait=False) or into.is_dir():
                continue
            data = _fetched(session, name, entry, deadline)
            _unpack(keep, into, data)
            os.truncate(lock, 0)
            os.pwrite(lock, str(len(data)).encode(), 0)
            make_room(keep, MOST_KEPT)
    except BaseException:
        os.close(lock)
        raise


def _lock(session: UserSession, lock: int, kind: int, deadline: float | None, *, wait: bool = True) -> bool:
    """Take a lock; whether it was taken. Another worker has it while it unpacks.

    Raises:
        GetTimeoutError: It had it until the deadline.
    """
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if deadline is not None and session.now() >= deadline:
                if wait:
                    raise errors.GetTimeoutError("another worker has the folder") from None
                return False
            time.sleep(_PAUSE_S)


def _fetched(session: UserSession, name: str, entry: Mapping[str, Any], deadline: float | None) -> bytes:
    written = base64.b64decode(entry["ref"])
    try:
        data = session.get_one(rebuild(written[:SIZE], written[SIZE:]), deadline)
    except errors.ObjectLostError as lost:
        if "pieces" not in entry:
            raise errors.RaySystemError(
                f"folder {name[:12]} of {entry['size']} bytes is gone: {lost}\nA folder is there as long as who named it in a "
                "runtime_env, and on nodes that have it already. For a detached actor it is kept for as long as the actor may be "
                "started, if all its folders have no more than 64 MiB together"
            ) from lost
        data = b"".join(_piece(session, bytes.fromhex(piece)) for piece in entry["pieces"])
    if hashlib.sha256(data).hexdigest() != name:
        raise errors.RaySystemError("what was fetched is not what was put")
    return bytes(data)


def _piece(session: UserSession, piece: bytes) -> bytes:
    """What control keeps for a detached actor whose driver has gone."""
    blob: bytes = session.control(
        "GetFunction", ctl.GetFunctionRequest(function_hash=piece), ctl.GetFunctionResponse
    ).blob
    return blob


def _unpack(keep: Path, into: Path, data: bytes) -> None:
    file = keep / f"{into.name}.zip"
    try:
        file.write_bytes(data)
        packages.unpack(file, into)
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def make_room(keep: Path, most_bytes: int) -> None:
    """Remove folders that nobody uses, those first whose last use began longest ago, until the rest is small enough."""
    locks = sorted(keep.glob("*.lock"), key=lambda path: path.stat().st_mtime_ns)
    sizes = {path: int(path.read_text() or 0) for path in locks}
    total = sum(sizes.values())
    for path, size in sizes.items():
        if total <= most_bytes:
            return
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            os.truncate(lock, 0)
            total -= size
        except BlockingIOError:
            continue  # somebody is in it
        finally:
            os.close(lock)
