"""The process between a raylet and everything it starts: whatever becomes of the raylet, nothing of that outlives it for long.

The guard is forked before anything else, starts the factories, and is the subreaper of all that descends from them: a process
that leaves its group and its session and loses its parents becomes the guard's child, not init's. So when the raylet ends,
SIGKILL included, the guard ends its children until it has none, and then itself. No privileges are needed, and none of them gets
away but by being somebody else's (a setuid program).

When the guard is killed, factories and workers go by the kernel's hand, orphans become the raylet's, and the raylet ends the
node; both killed at the same moment is the one way in which a process that left its session survives.

It has one thread, imports nothing of its own, and knows neither asyncio nor protobuf: it is forked from a raylet that has not
imported them yet.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from manta.core.process_marks import WORKER_VARIABLE, limit_mark
from manta.raylet.workers import process

_PR_SET_NAME: Final = 15
#: What people see instead of the raylet's command line, which is found by its arguments and of which there is to be one.
_TITLE: Final = b"manta::guard"
#: Length of a message, before its JSON.
_HEADER_BYTES: Final = 4
#: How long the guard may take to answer, seconds. It does nothing but this; longer means that it is stopped.
_ANSWER_S: Final = 10.0


class Guard:
    """The guard as its raylet sees it.

    Args:
        pid: Its process id.
        sock: Our end of the socket to it.
    """

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self._sock = sock
        sock.settimeout(_ANSWER_S)

    def launch(self, words: Sequence[str], environment: Mapping[str, str], log: Path, fd: int) -> int:
        """Start a program that ends with us; its process id.

        Args:
            words: The program and its arguments; "{fd}" stands for the descriptor's number there, "{parent}" for its parent's id.
            environment: Added to our own environment.
            log: File that gets its output.
            fd: A descriptor it inherits.

        Raises:
            OSError: It cannot be started, or the guard does not answer.
        """
        order = {"words": list(words), "environment": dict(environment), "log": str(log)}
        _send(self._sock, order, [fd])
        answer, _ = _receive(self._sock)
        if "pid" not in answer:
            raise OSError(answer["error"])
        return int(answer["pid"])

    def worker_died(self, worker_id: bytes) -> None:
        """What this worker left behind is to end."""
        with suppress(OSError):  # the guard is gone: so is the node in a moment
            _send(self._sock, {"dead": [worker_id.hex(), str(limit_mark(worker_id))]})

    def close(self) -> None:
        """Let it end whatever is left, then itself."""
        self._sock.close()


def start_guard() -> Guard:
    """Fork a guard for this process. Before any thread is started and any loop is made; from the main thread."""
    raylet = os.getpid()
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _be_guard(theirs, raylet)
    theirs.close()
    return Guard(pid, ours)


# ---- its own life


def _be_guard(sock: socket.socket, raylet: int) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Meant for the raylet; the guard's time comes when that has ended.
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(sock.fileno())
        process.become_subreaper()
        ctypes.CDLL(None).prctl(_PR_SET_NAME, _TITLE, 0, 0, 0)
        _be_nobodys()
        _Life(sock, raylet).live()
        code = 0
    finally:
        # Not the interpreter's own end: exit handlers and open files are the raylet's, who sees that it has failed.
        os._exit(code)


class _Life:
    def __init__(self, sock: socket.socket, raylet: int) -> None:
        self._sock = sock
        self._raylet = raylet
        #: Programs that were started by order.
        self._programs: set[int] = set()
        #: Marks of dead workers whose orphans are being ended; and those orphans that were killed.
        self._dead: set[str] = set()
        self._killed: set[int] = set()

    def live(self) -> None:
        """Start, bury, and at last end everybody."""
        awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(awake, select.POLLIN)
        try:
            # Of a raylet that is stopped when it is killed, this comes before the end of its socket.
            poll.register(os.pidfd_open(self._raylet), select.POLLIN)
            if os.getppid() != self._raylet:
                return
            while True:
                for fd, _event in poll.poll():
                    if fd == awake:
                        os.read(awake, 4096)
                        self._bury()
                    elif fd == self._sock.fileno():
                        self._obey()
                    else:
                        return
        except (EOFError, OSError):
            # The raylet closed its end, or is gone.
            return
        finally:
            _end_everybody()

    def _obey(self) -> None:
        order, fds = _receive(self._sock)
        if "dead" in order:
            self._dead.update(order["dead"])
            self._end_orphans()
            return
        try:
            answer: dict[str, Any] = {"pid": self._launch(order, fds[0])}
        except (OSError, ValueError) as error:
            # The second is Popen's for what no environment can hold.
            answer = {"error": f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)}
        finally:
            for fd in fds:
                os.close(fd)
        _send(self._sock, answer)

    def _launch(self, order: dict[str, Any], fd: int) -> int:
        with open(order["log"], "ab") as log:
            child = subprocess.Popen(
                [word.format(fd=fd, parent=os.getpid()) for word in order["words"]],
                pass_fds=(fd,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **order["environment"]},
                # A Ctrl-C in the terminal is for the driver.
                start_new_session=True,
            )
        # Its end is ours to take, not this object's.
        child.returncode = 0
        self._programs.add(child.pid)
        return child.pid

    def _bury(self) -> None:
        """Take the exit status of dead children. Those that were killed may have left us some more."""
        killed = len(self._killed)
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self._programs.discard(pid)
                self._killed.discard(pid)
        if len(self._killed) < killed:
            self._end_orphans()

    def _end_orphans(self) -> None:
        """End what dead workers started and left to us. It is our child: its number is nobody else's."""
        for pid in process.children():
            if pid not in self._programs and pid not in self._killed and process.marks_of(pid) & self._dead:
                process.kill(pid)
                self._killed.add(pid)
        if not self._killed:
            # All that they left behind came to us at their own end, or at that of what was killed.
            self._dead.clear()


def _end_everybody() -> None:
    """Kill our children until there are none: their own become ours when they die."""
    while True:
        for pid in process.children():
            process.kill(pid)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _close_all_but(kept: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in (0, 1, 2, kept):
            with suppress(OSError):  # the one that lists the folder is gone again
                os.close(int(name))


def _be_nobodys() -> None:
    """Show a title instead of the raylet's arguments, and no mark of a worker in which this cluster was started.

    When that worker dies, the guard above us ends what bears its mark: our raylet. We are to end then what that has left.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    resource.setrlimit(resource.RLIMIT_RTTIME, (hard, hard))
    with suppress(OSError, ValueError, IndexError):
        # proc(5): arg_start to env_end are numbers 48 to 51, of which the first two come before the last bracket.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        arguments, arguments_end, environment, environment_end = map(int, fields[45:49])
        if arguments and arguments_end - arguments > len(_TITLE):
            ctypes.memset(arguments, 0, arguments_end - arguments)
            ctypes.memmove(arguments, _TITLE, len(_TITLE))
        at = environment
        for word in ctypes.string_at(environment, environment_end - environment).split(b"\0") if environment else ():
            if word.startswith(WORKER_VARIABLE.encode() + b"="):
                ctypes.memset(at, 0, len(word))
            at += len(word) + 1


# ---- the wire between the two


def _send(sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    # Escapes keep what is not UTF-8 in names and values, as the environment has it.
    text = json.dumps(message).encode()
    socket.send_fds(sock, [len(text).to_bytes(_HEADER_BYTES, "big")], fds)
    sock.sendall(text)


def _receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]]:
    header, fds, _flags, _address = socket.recv_fds(sock, _HEADER_BYTES, 1)
    if not header:
        raise EOFError
    header += _exactly(sock, _HEADER_BYTES - len(header))
    message: dict[str, Any] = json.loads(_exactly(sock, int.from_bytes(header, "big")))
    return message, fds


def _exactly(sock: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = sock.recv(size - len(found))
        if not part:
            raise EOFError
        found += part
    return bytes(found)
