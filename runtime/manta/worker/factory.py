"""The warm process that workers are forked from: it has imported what a worker needs and does nothing else.

It is single-threaded on purpose (a fork copies one thread and every lock as it stands) and knows neither grpc nor asyncio. It
speaks `Fork`, `Forked` and `Exited` on a socket pair that the raylet made, and ends when that closes: with the raylet, in
whatever way that went, end the factory, its workers and what is in their process groups.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from manta.core.errors import ProtocolError
from manta.core.process_marks import WORKER_VARIABLE, limit_mark
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import Connection

#: What runs in the child: (worker id, the raylet's socket) -> exit code.
Run = Callable[[bytes, str], int]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15

#: What a worker imports in its first moments, beyond what its entry does by itself: once here, not once in each. *Measured* 15 ms
#: of CPU per worker, half of what its start cost. asyncio stays out: most workers never need it.
_PRELOAD: Final = (
    "cloudpickle",
    "json",
    "traceback",
    "manta.client.handles",
    "manta.core.environment",
    "manta.core.log_marks",
    "manta.worker.actors",
    "manta.worker.devices",
    "manta.worker.logs",
    "manta.worker.setup",
    "manta.worker.streams",
)

#: The kernel's choice when memory runs out: workers before anything of ours.
_OOM_SCORE: Final = "1000"

_libc = ctypes.CDLL(None, use_errno=True)


class Factory:
    """Forks workers on demand and reports their ends.

    Args:
        sock: Connected to the raylet.
        run: What a worker does; its result is the exit code.
    """

    def __init__(self, sock: socket.socket, run: Run) -> None:
        self._connection = Connection(sock)
        self._run = run
        #: Process ids of living workers.
        self._workers: set[int] = set()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Fork and report until the raylet is gone, then end every worker."""
        signal.signal(signal.SIGCHLD, _nothing)
        # A raylet that was stopped, or is in a debugger, does not close its socket when it is killed a moment later; this comes
        # too.
        signal.signal(signal.SIGTERM, _nothing)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._connection.fd, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        try:
            while True:
                for fd, _event in poll.poll():
                    if fd == self._wake_read:
                        if signal.SIGTERM in os.read(self._wake_read, 4096):
                            return
                        self._reap()
                        continue
                    for _number, message, _raw in self._connection.receive():
                        if not isinstance(message, pb.Fork):
                            raise ProtocolError(f"a factory takes Fork frames, got {type(message).__name__}")
                        self._fork(message)
        except (EOFError, ConnectionError):
            return
        finally:
            for pid in self._workers:
                _kill_group(pid)

    def _fork(self, order: pb.Fork) -> None:
        factory_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._connection.send(pb.Forked(worker_id=order.worker_id, error=f"fork: {error}"))
            return
        if pid == 0:
            self._become_worker(order, factory_pid)
        # Both sides do it: whoever comes first, nobody acts before it is done.
        with suppress(OSError):
            os.setpgid(pid, pid)
        self._workers.add(pid)
        self._connection.send(pb.Forked(worker_id=order.worker_id, pid=pid))

    def _reap(self) -> None:
        """Report the dead. Their process groups go first: afterwards the number may be somebody else's."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            _kill_group(pid)
            _, wait_status = os.waitpid(pid, 0)
            self._workers.discard(pid)
            self._connection.send(pb.Exited(pid=pid, status=os.waitstatus_to_exitcode(wait_status)))

    def _become_worker(self, order: pb.Fork, factory_pid: int) -> None:
        """The child's life. Never returns."""
        code = 1
        try:
            os.setpgid(0, 0)
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != factory_pid:
                # The factory died before its death could be a signal for us.
                os._exit(1)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._connection.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            _redirect(order.stdout_path, order.stderr_path)
            _libc.prctl(_PR_SET_NAME, b"manta::worker", 0, 0, 0)
            with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
                score.write(_OOM_SCORE)
            _mark(order.worker_id)
            _reseed()
            code = self._run(order.worker_id, order.raylet)
        except SystemExit as leaving:
            code = exit_code(leaving)
        except BaseException:  # noqa: BLE001 - shown as the interpreter would show it; the process ends here
            sys.excepthook(*sys.exc_info())
        finally:
            # Not the interpreter's own end: it would take down, one by one, what the factory built for all its workers.
            _leave(code)


def _nothing(_number: int, _frame: object) -> None:
    """A handler that only lets the wake-up descriptor speak."""


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _mark(worker_id: bytes) -> None:
    """Whatever descends from this process bears the worker's id: by it the raylet's guard knows whose an orphan was."""
    os.environ[WORKER_VARIABLE] = worker_id.hex()
    _soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    with suppress(OSError, ValueError):  # an administrator's limit is lower
        resource.setrlimit(resource.RLIMIT_RTTIME, (limit_mark(worker_id), hard))


def _redirect(stdout_path: str, stderr_path: str) -> None:
    """Standard output and error go to the worker's own files, standard input is empty."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for path, fd in ((stdout_path, 1), (stderr_path, 2)):
        # Append: user code may open the same file again, and truncation by an administrator must not leave holes.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, fd)
        os.close(file)
    # Fresh objects: the factory's have its buffers and were made for its descriptors.
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # type: ignore[misc]  # noqa: SIM115


def _reseed() -> None:
    """Sibling workers must not draw the same numbers: `random` and ssl see to it themselves at fork, numpy does not."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def exit_code(leaving: SystemExit) -> int:
    """What the interpreter would make of it."""
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    return 1


def _leave(code: int) -> None:
    """Run exit handlers, flush, end. Whatever happens: a worker that came back from here would go on as a second factory."""
    import atexit

    try:
        try:
            atexit._run_exitfuncs()
        except BaseException:  # noqa: BLE001 - shown as the interpreter would show it; the process ends here
            sys.excepthook(*sys.exc_info())
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    finally:
        # Eight bits are all that the kernel keeps; more than an int is refused.
        os._exit(code & 0xFF)


def main(fd: int, raylet_pid: int, entry: str) -> None:
    """Be a factory on an inherited socket.

    Args:
        fd: The socket's descriptor.
        raylet_pid: The process that must be our parent.
        entry: "module:function" that a worker runs (see `Run`).
    """
    # SIGTERM, not SIGKILL: there is a last duty, the workers' groups.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != raylet_pid:
        return
    _libc.prctl(_PR_SET_NAME, b"manta::factory", 0, 0, 0)
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    module, _, function = entry.partition(":")
    import importlib

    run: Run = getattr(importlib.import_module(module), function)
    for name in _PRELOAD:
        importlib.import_module(name)
    # Its reducers are taken over at the first value that is not plain data; in the factory, once for all workers.
    importlib.import_module("manta.serde.pickler").load_cloudpickle()
    # What was built so far lives as long as every worker: the collector need not look at it, and pages stay shared.
    gc.collect()
    gc.freeze()
    Factory(sock, run).serve()
