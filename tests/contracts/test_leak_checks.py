"""The leak checks around process tests notice each kind of leftover, and name it."""

from __future__ import annotations

import _thread
import gc
import mmap
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.support.leaks import no_leaks
from tests.support.waiting import wait_until

ENDLESS = [sys.executable, "-c", "import signal; signal.pause()"]


def what_is_reported(kinds, leave_behind) -> str:
    """Run `leave_behind` under the check and return the text of its complaint."""
    with pytest.raises(AssertionError) as complaint, no_leaks(kinds, patience_s=0.2) as sandbox:
        leave_behind(sandbox)
    return str(complaint.value)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for somebody to note its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_clean_block_passes():
    """Work that tidies up after itself is not accused of anything."""
    with no_leaks():
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x")
        subprocess.run([sys.executable, "-c", ""], check=True)
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()


def test_a_process_is_found_even_if_nobody_is_its_parent_any_more():
    """A daemon's daemon still carries the sandbox's tag; it is named by its command line, and ended."""
    pids = []

    def leave_behind(_):
        start = f"import subprocess; print(subprocess.Popen({ENDLESS!r}, start_new_session=True, stdout=2).pid)"
        pids.append(int(subprocess.check_output([sys.executable, "-c", start])))

    text = what_is_reported(["processes"], leave_behind)

    assert f"processes: {pids[0]} " in text
    assert "signal.pause()" in text
    wait_until(lambda: has_ended(pids[0]), what="the end of the process that was left")


def test_a_zombie_is_a_leftover():
    """A child that ended and was never waited for counts, and is said to be a zombie."""
    left = []

    def leave_behind(_):
        left.append(subprocess.Popen([sys.executable, "-c", ""]))
        os.waitid(os.P_PID, left[0].pid, os.WEXITED | os.WNOWAIT)

    assert "Z (zombie)" in what_is_reported(["processes"], leave_behind)
    left[0].wait()


def test_a_thread_is_named_and_its_place_shown():
    """The complaint shows the name its maker gave it and the line where it stands."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="forgotten-service", daemon=True)

    text = what_is_reported(["threads"], lambda _: thread.start())

    assert "threads: forgotten-service at " in text
    assert "threading.py" in text
    done.set()
    thread.join()


def test_a_thread_unknown_to_the_threading_module_is_found():
    """`_thread` starts threads that `threading.enumerate()` never shows."""
    done = threading.Lock()
    done.acquire()
    began, ended = threading.Event(), threading.Event()

    def stand():
        began.set()
        done.acquire()
        ended.set()

    def leave_behind(_):
        _thread.start_new_thread(stand, ())
        assert began.wait(5), "until it runs it has no frame"

    text = what_is_reported(["threads"], leave_behind)

    assert "stand" in text
    done.release()
    assert ended.wait(5)


def test_a_descriptor_is_shown_with_what_it_leads_to():
    """Numbers alone help nobody."""
    fds = []

    text = what_is_reported(["fds"], lambda _: fds.append(os.memfd_create("forgotten")))

    assert f"{fds[0]} -> /memfd:forgotten" in text
    os.close(fds[0])


def test_of_descriptors_without_a_name_the_number_of_them_counts():
    """A library that closes an eventfd and makes another under another number left nothing behind; one more is a leftover."""
    old = os.eventfd(0)
    held = []
    with no_leaks(["fds"], patience_s=0.2):
        held += [os.dup(0), os.eventfd(0)]
        os.close(old)
        os.close(held.pop(0))

    text = what_is_reported(["fds"], lambda _: held.append(os.eventfd(0)))

    assert f"{held[-1]} -> anon_inode:[eventfd]" in text
    for fd in held:
        os.close(fd)


def test_what_waits_for_the_collector_is_collected_first():
    """Each look for leftovers collects. Cheaply: what was there before the first test is out of the collector's way."""

    class Holds:
        def __init__(self):
            self.me, self.fd = self, os.open("/dev/null", os.O_RDONLY)

        def __del__(self):
            os.close(self.fd)

    with no_leaks(["fds"], patience_s=0.2):
        Holds()
    assert gc.get_freeze_count() > len(gc.get_objects())


def test_a_mapping_outlives_its_descriptor_and_is_found():
    """Closing the descriptor frees nothing while the memory is mapped."""
    mappings = []

    def leave_behind(_):
        fd = os.memfd_create("forgotten-arena")
        os.ftruncate(fd, 4096)
        mappings.append(mmap.mmap(fd, 4096))
        os.close(fd)

    assert "/memfd:forgotten-arena" in what_is_reported(["memory"], leave_behind)
    mappings[0].close()


def test_files_and_sockets_are_left_files_and_logs_are_not():
    """Every program's temporary folder is the sandbox's; what it kept there is listed, but for its logs."""

    def leave_behind(sandbox):
        session = Path(tempfile.mkdtemp(dir=sandbox.path, prefix="session-"))
        (session / "logs").mkdir()
        (session / "logs" / "worker.log").write_text("a line")
        (session / "spilled").write_bytes(b"bytes")

    text = what_is_reported(["files"], leave_behind)

    assert "/spilled" in text
    assert "worker.log" not in text


def test_the_check_restores_the_surroundings():
    """Environment and temporary folder are as before, and the sandbox's folder is gone."""
    before = dict(os.environ), tempfile.gettempdir()
    with no_leaks() as sandbox:
        assert tempfile.gettempdir() == str(sandbox.path)
    assert (dict(os.environ), tempfile.gettempdir()) == before
    assert not sandbox.path.exists()


def test_a_failing_test_keeps_its_own_failure():
    """Leftovers of a failed block are removed without a word: the block's error is the news."""
    with pytest.raises(ZeroDivisionError), no_leaks(["files"], patience_s=0.1) as sandbox:
        (sandbox.path / "left").touch()
        raise ZeroDivisionError
    assert not sandbox.path.exists()
