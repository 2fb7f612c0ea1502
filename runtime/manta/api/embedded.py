"""An embedded cluster: control and a raylet as processes of their own, started side by side, ending with their driver."""

from __future__ import annotations

import json
import os
import select
import sys
import time

from manta.core import errors
from manta.transport import first_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from typing import Any, BinaryIO

#: How long control and raylet may take to be ready.
START_S = 30.0

#: And to end, before they are killed.
STOP_S = 5.0

#: The logs of a cluster whose driver was killed stay this long, for whoever wants to know why.
LOGS_KEPT_S = 24 * 3600.0


def root(temp_dir: str | None = None) -> str:
    """The user's private folder of sessions, made if need be.

    Raises:
        PermissionError: Somebody else's folder is in the way.
    """
    from manta.core.environment import setting

    base = temp_dir or setting("TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - made private below
    path = os.path.join(base, f"manta-{os.getuid()}")
    try:
        os.makedirs(base, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        status = os.lstat(path)
    except OSError as error:
        why = f"no folder for the files of clusters can be there ({error.strerror}); set MANTA_TMPDIR to another place"
        raise OSError(error.errno, why, path) from error
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(
            f"{path} must be a folder of yours that nobody else may enter (mode 0700, uid {os.getuid()}), "
            f"it has mode {status.st_mode & 0o777:04o} and uid {status.st_uid}; set MANTA_TMPDIR to another place"
        )
    return path


def sweep(folder: str, now: float) -> None:
    """Remove what killed drivers' clusters left in the folder of sessions: their logs, once nobody can want them any more."""
    import shutil

    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            dead = name.startswith("session_") and os.listdir(path) == ["logs"]
            if dead and now - os.stat(path).st_mtime > LOGS_KEPT_S:
                shutil.rmtree(path)
        except OSError:
            pass  # another driver was faster, or it is nothing of ours


def new_session(temp_dir: str | None = None) -> str:
    """Make a session's folder. Its name ends in this process's id: while that lives, the session may be starting."""
    folder = root(temp_dir)
    sweep(folder, time.time())
    name = f"session_{time.strftime('%Y-%m-%d_%H-%M-%S')}_{os.urandom(3).hex()}_{os.getpid()}"
    session_dir = os.path.join(folder, name)
    os.mkdir(session_dir, 0o700)
    os.mkdir(os.path.join(session_dir, "logs"), 0o700)
    return session_dir


class Embedded:
    """A running embedded cluster; `stop` ends it."""

    def __init__(self, session_dir: str, raylet: str, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self.session_dir = session_dir
        #: URL of its dashboard, the file of its tokens and the least of them; empty where there is none.
        self.dashboard = self.tokens = self.viewer_token = ""
        #: Where its raylet listens.
        self.raylet = raylet
        self._processes = processes

    def stop(self) -> None:
        """End raylet and control, and wait until they are gone; what is left of the session folder goes too."""
        import shutil
        import signal
        import subprocess

        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for process in reversed(self._processes):
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.session_dir, ignore_errors=True)


def start(
    *,
    temp_dir: str | None,
    num_cpus: float | None,
    num_gpus: float | None,
    resources: Mapping[str, float],
    labels: Mapping[str, str],
    object_store_bytes: int,
    memory_bytes: int | None,
    node_name: str | None,
    node_ip: str | None = None,
    dashboard: tuple[str, bool] | None = None,
) -> Embedded:
    """Start control and a raylet, and a dashboard where one is wanted, and wait until all are ready.

    `dashboard` is the "host:port" where it listens, and whether any other port will do.

    Raises:
        UnsupportedPlatformError: This is not Linux.
        MantaError: One of them could not start; says why.
    """
    if sys.platform != "linux":
        raise errors.UnsupportedPlatformError(sys.platform)
    import subprocess

    session_dir = new_session(temp_dir)
    name = os.path.basename(session_dir)
    node_id = os.urandom(28).hex()
    control_socket = os.path.join(session_dir, "control.sock")
    parent = str(os.getpid())
    control = ["manta.control", "--session-dir", session_dir, "--socket", control_socket]
    raylet = [
        "manta.raylet", "--session-dir", session_dir, "--control", f"unix:{control_socket}", "--parent-pid", parent,
        "--node-id", node_id, "--head", "--object-store-memory", str(object_store_bytes), "--remove-session-dir",
        "--session-name", name, "--resources", json.dumps(dict(resources)), "--labels", json.dumps(dict(labels)),
    ]  # fmt: skip
    if num_cpus is not None:
        raylet += ["--num-cpus", str(num_cpus)]
    if num_gpus is not None:
        raylet += ["--num-gpus", str(num_gpus)]
    if memory_bytes is not None:
        raylet += ["--memory", str(memory_bytes)]
    if node_name:
        raylet += ["--node-name", node_name]
    if node_ip:
        raylet += ["--node-ip", node_ip]
    environment = child_environment()
    processes: list[subprocess.Popen[bytes]] = []
    ready: dict[int, str] = {}
    commands = [[*control, "--parent-pid", parent], raylet]
    found = Embedded(session_dir, os.path.join(session_dir, f"raylet-{node_id[:8]}.sock"), processes)
    try:
        if dashboard is not None:
            commands.append(_dashboard(found, f"unix:{control_socket}", *dashboard))
        with open(os.path.join(session_dir, "logs", "start.log"), "a+b") as output:
            for arguments in commands:
                mine, theirs = os.pipe()
                if arguments is raylet:
                    # The raylet starts control again if that ends.
                    again = json.dumps([sys.executable, "-P", "-m", *control])
                    arguments += ["--control-pid", str(processes[0].pid), "--control-command", again]
                ready[mine] = arguments[0]
                try:
                    processes.append(
                        subprocess.Popen(
                            [sys.executable, "-P", "-m", *arguments, "--ready-fd", str(theirs)],
                            stdin=subprocess.DEVNULL,
                            stdout=output,
                            stderr=output,
                            env=environment,
                            pass_fds=(theirs,),
                            start_new_session=True,
                        )
                    )
                finally:
                    os.close(theirs)
            said = await_ready(ready, output)
    except BaseException:
        found.stop()
        raise
    finally:
        for fd in ready:
            os.close(fd)
    if dashboard is not None:
        host = dashboard[0].rpartition(":")[0]
        found.dashboard = f"http://{host}:{int(said['manta.dashboard'])}"
    return found


def _dashboard(cluster: Embedded, control: str, bind: str, any_port: bool) -> list[str]:
    """The command of a dashboard, with tokens of its own: plain HTTP, so loopback only."""
    from manta.transport import credentials

    folder = os.path.join(cluster.session_dir, "credentials")
    os.mkdir(folder, 0o700)
    cluster.tokens = os.path.join(folder, credentials.TOKENS)
    cluster.viewer_token = credentials.make_tokens(folder)["viewer"]
    return [
        "manta.dashboard", "--session-dir", cluster.session_dir, "--control", control, "--tokens", cluster.tokens,
        "--bind", bind, "--parent-pid", str(os.getpid()), *(("--any-port",) if any_port else ()),
    ]  # fmt: skip


def child_environment() -> dict[str, str]:
    """The environment of our own processes: this very Manta comes first on their import path."""
    environment = dict(os.environ)
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{here}{os.pathsep}{path}" if path else here
    return environment


def await_ready(ready: Mapping[int, str], output: BinaryIO) -> dict[str, str]:
    """Wait until processes are ready.

    Args:
        ready: The descriptors on which they say so, with their names.
        output: The file they print to, readable.
    Returns:
        Where each serves, in its own words.
    Raises:
        MantaError: One of them could not start; says why.
    """
    waiting = dict(ready)
    told: dict[str, str] = {}
    poll = select.poll()
    for fd in waiting:
        poll.register(fd, select.POLLIN | select.POLLHUP)
    deadline = time.monotonic() + START_S
    while waiting:
        events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not events:
            raise errors.RaySystemError(
                f"{' and '.join(waiting.values())} did not get ready within {START_S:.0f} s{_said(output)}"
            )
        for fd, _ in events:
            poll.unregister(fd)
            name = waiting.pop(fd)
            try:
                told[name] = first_word.understand(os.read(fd, first_word.LONGEST_BYTES))
            except EOFError as silent:
                raise errors.RaySystemError(f"{name} ended before it was ready{_said(output)}") from silent
    return told


def _said(output: BinaryIO) -> str:
    """The end of what the processes wrote before they gave up. By the open file: a failed raylet removes the folder."""
    output.seek(0)
    text = output.read()[-4000:].decode(errors="replace").strip()
    return f"; it said:\n{text}" if text else ""


# -- who can be joined


def record(cluster: Embedded, node_id: bytes) -> None:
    """Leave a note for `init(address="auto")` and the command line."""
    facts = {"raylet": cluster.raylet, "pid": os.getpid(), "node_id": node_id.hex()}
    if cluster.dashboard:
        facts |= {"dashboard": cluster.dashboard, "tokens": cluster.tokens}
    note(cluster.session_dir, facts)


def note(session_dir: str, facts: Mapping[str, Any]) -> None:
    """Write down how a node is joined.

    Args:
        session_dir: Where.
        facts: `raylet`, its socket; `pid` of the driver it lives for, 0 for none; `node_id`; and what else is good to know.
    """
    path = os.path.join(session_dir, "address.json")
    with open(path + ".new", "w") as file:
        json.dump(dict(facts), file)
    os.replace(path + ".new", path)


def running(temp_dir: str | None = None) -> list[dict[str, Any]]:
    """Clusters of this user on this machine that can be joined, the newest first."""
    found = []
    try:
        folder = root(temp_dir)
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        path = os.path.join(folder, name, "address.json")
        try:
            with open(path) as file:
                entry = json.load(file)
            started = os.stat(path).st_mtime
            if not (isinstance(entry, dict) and isinstance(entry.get("raylet"), str)):
                continue
        except (OSError, ValueError, RecursionError):
            continue
        if not _listens(entry["raylet"]):
            continue
        found.append({**entry, "session_dir": os.path.join(folder, name), "started": started})
    return sorted(found, key=lambda entry: -entry["started"])


def node_of(address: str, temp_dir: str | None = None) -> dict[str, Any] | None:
    """The note of this machine's node of the cluster whose head is at "host:port"; None if there is none."""
    host, _, port = address.rpartition(":")
    for entry in running(temp_dir):
        control = entry.get("control")
        if not isinstance(control, str):
            continue
        its_host, _, its_port = control.rpartition(":")
        if port == its_port and (host == its_host or (entry.get("head") and host in ("localhost", "127.0.0.1"))):
            return entry
    return None


def _listens(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(path)
        except OSError:
            return False
    return True
