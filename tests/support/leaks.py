"""Finds what a test left behind, and says what it is: processes, threads, descriptors, shared memory, files.

A test runs inside a sandbox: a private temporary folder, and a tag in the environment that every program started from
here inherits. So leftovers are found whoever adopted them, and other programs on the machine do not matter.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

TAG = "MANTA_TEST_SANDBOX"
#: Variables that decide where programs put their files; all point into the sandbox.
FOLDER_VARIABLES = ("TMPDIR", "MANTA_TMPDIR", "RAY_TMPDIR", "XDG_RUNTIME_DIR")
#: Log folders outlive a cluster on purpose: they are what one reads after a crash.
KEPT_FOLDERS = frozenset({"logs"})
KINDS = ("processes", "threads", "fds", "memory", "files")


class Sandbox:
    """The place a test runs in, and the view of the process at its start.

    Attributes:
        path: Private folder (0700), short enough for the paths of Unix sockets.
        tag: Value of the environment variable by which programs started here are found.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
        self.tag = uuid.uuid4().hex
        self._fds = open_fds()
        self._threads = set(sys._current_frames())
        self._memory = shared_mappings()
        self._children = set(children())
        self._shm = named_memory()

    def leaks(self, kinds: Collection[str] = KINDS) -> dict[str, list[str]]:
        """What is there now and was not at the start, as one line per thing under its kind."""
        found: dict[str, list[str]] = {}
        if "processes" in kinds:
            found["processes"] = [describe_process(pid) for pid in self.processes()]
        if "threads" in kinds:
            found["threads"] = self._new_threads()
        if "fds" in kinds:
            found["fds"] = self._new_fds()
        if "memory" in kinds:
            mappings = shared_mappings()
            found["memory"] = [f"mapped: {name} x{n}" for name, n in mappings.items() if n > self._memory.get(name, 0)]
            found["memory"] += [f"/dev/shm/{name}" for name in sorted(named_memory() - self._shm)]
        if "files" in kinds:
            found["files"] = left_files(self.path)
        return {kind: lines for kind, lines in found.items() if lines}

    def processes(self) -> list[int]:
        """Living or unreaped processes that were started from here."""
        wanted = f"{TAG}={self.tag}".encode()
        found = set(children()) - self._children
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.add(int(entry.name))
                except OSError:
                    continue  # gone meanwhile, or somebody else's
        return sorted(found)

    def close(self) -> None:
        """Remove what a failed test left, so that it cannot fail the next one too."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        shutil.rmtree(self.path, ignore_errors=True)

    def _new_fds(self) -> list[str]:
        now = open_fds()
        new = {fd: target for fd, target in now.items() if self._fds.get(fd) != target}
        # Of what has no name (eventfd, epoll) it is the number of them that counts: grpc, once it was used in this process,
        # closes some of its own and makes others at any time, under other numbers.
        before, after = (Counter(map(_kind, fds.values())) for fds in (self._fds, now))
        return [
            f"{fd} -> {target}"
            for fd, target in new.items()
            if not _kind(target) or after[_kind(target)] > before[_kind(target)]
        ]

    def _new_threads(self) -> list[str]:
        # Frames, not threading.enumerate(): they show threads started without `threading` too, and where each one stands.
        # Threads that never run Python (OpenBLAS, grpc) are their library's, for the life of the process.
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        return [
            f"{names.get(ident, 'no name')} at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
            for ident, frame in sys._current_frames().items()
            if ident not in self._threads
        ]


@contextlib.contextmanager
def no_leaks(kinds: Collection[str] = KINDS, *, patience_s: float = 15.0) -> Iterator[Sandbox]:
    """Run the block in a sandbox and fail if anything of `kinds` is left after it.

    Args:
        kinds: Which of KINDS to look at.
        patience_s: Seconds that endings may take after the block; processes exit a moment after they were told to.

    Raises:
        AssertionError: Something is left. The text lists it, one line per thing. Only raised if the block succeeded.
    """
    sandbox = Sandbox()
    with environment({TAG: sandbox.tag, **dict.fromkeys(FOLDER_VARIABLES, str(sandbox.path))}):
        try:
            yield sandbox
            left = settle(sandbox, kinds, patience_s)
        finally:
            sandbox.close()
    if left:
        raise AssertionError("left behind:\n" + "\n".join(f"  {kind}: {line}" for kind in left for line in left[kind]))


def settle(sandbox: Sandbox, kinds: Collection[str], patience_s: float) -> dict[str, list[str]]:
    """Wait until nothing is left or `patience_s` are over, and return what is still there."""
    deadline = time.monotonic() + patience_s
    gc.collect()
    while (left := sandbox.leaks(kinds)) and time.monotonic() < deadline:
        time.sleep(0.02)
        gc.collect()  # what a thread that was still ending has dropped
    return left


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while; `tempfile` notices the change of its folder, both ways."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    tempfile.tempdir = None
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        tempfile.tempdir = None


def _kind(target: str) -> str:
    """What an anonymous descriptor is; empty for one that leads to something with a name or a number of its own."""
    return target if target.startswith("anon_inode:") else ""


def open_fds() -> dict[int, str]:
    """Descriptors of this process and what each leads to."""
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists the folder is gone again
            fds[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return fds


def shared_mappings() -> dict[str, int]:
    """Shared memory that this process maps: name of the segment to number of mappings."""
    counts: dict[str, int] = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        name = line.split(maxsplit=5)[5] if line.count("/") else ""
        if name.startswith(("/memfd:", "/dev/shm/")):
            counts[name] = counts.get(name, 0) + 1
    return counts


def named_memory() -> set[str]:
    """Our segments in /dev/shm; there should never be any, as the arena is anonymous."""
    with contextlib.suppress(OSError):
        return {name for name in os.listdir("/dev/shm") if "manta" in name}
    return set()


def children() -> list[int]:
    """Direct children of this process, zombies included."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def describe_process(pid: int) -> str:
    """Id, state, parent and command line of a process."""
    try:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return f"{pid} (gone a moment later)"
    return f"{pid} {status['State'].strip()}, child of {status['PPid'].strip()}: {command or status['Name'].strip()}"


def left_files(folder: Path) -> list[str]:
    """Files, sockets and empty folders below `folder`, log folders aside."""
    left = []
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in KEPT_FOLDERS]
        left += [str(Path(at, name).relative_to(folder)) for name in files]
    return sorted(left)
