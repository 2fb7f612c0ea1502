"""A full disk under control and logs, and workers that print what nobody should."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

import manta
from tests.process.cluster.support import running_cluster
from tests.support.leaks import environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.leaks import Sandbox

CLUSTER = None


@pytest.fixture
def small_disk(sandbox: Sandbox) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = sandbox.path / "d"  # short: the paths of sockets are
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "manta-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass
        try:
            while True:
                file.write(b"x")
        except OSError:
            pass
    return path


def test_a_full_disk_stops_nothing_that_runs_and_new_names_come_when_there_is_room(small_disk: Path):
    @manta.remote
    class Counter:
        count = 0

        def add(self):
            self.count += 1
            print("x" * 10_000, flush=True)
            return self.count

    with environment({"MANTA_TMPDIR": str(small_disk)}), running_cluster(num_cpus=2):
        counter = Counter.remote()
        assert manta.get(counter.add.remote(), timeout=20) == 1
        filler = fill(small_disk)
        # Tasks, calls and objects need no disk; prints that find no room are lost, their tasks are not.
        assert manta.get(counter.add.remote(), timeout=20) == 2
        assert manta.get([manta.remote(abs).remote(-n) for n in range(20)], timeout=20) == list(range(20))
        assert len(manta.get(manta.put(bytes(1_000_000)))) == 1_000_000
        filler.unlink()
        named = Counter.options(name="after").remote()
        assert manta.get(named.add.remote(), timeout=40) == 1
        assert manta.get(manta.get_actor("after").add.remote(), timeout=20) == 2


OUTPUT = """
import sys, time, manta
manta.init(num_cpus=2)

@manta.remote
def hostile():
    sys.stdout.write("long " + "x" * 1_000_000 + " end\\n")
    sys.stdout.write("nul \\0 and escape \\x1b[2J\\x1b]0;title\\x07 and bell \\x07 end\\n")
    sys.stdout.write("carriage\\rreturn\\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"bytes \\xff\\xfe\\x80 end\\n") if hasattr(sys.stdout, "buffer") else None
    sys.stdout.flush()
    print("manta:source:somebody else")
    print("last line")
    return "done"

@manta.remote
def flood(count):
    for number in range(count):
        print("flood", number)
    return count

# Each in one piece: between two pieces of a line a worker's may come.
sys.stdout.write(f"{manta.get(hostile.remote())}\\n")
sys.stdout.write(f"{sum(manta.get([flood.remote(50_000) for _ in range(2)]))}\\n")
sys.stdout.write("THE END\\n")
"""


def test_hostile_lines_and_a_flood_hang_nobody(tmp_path: Path):
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(OUTPUT))
    environ = {**os.environ, "MANTA_COLOR_PREFIX": "0", "MANTA_DEDUP_LOGS": "0"}
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, timeout=50, env=environ, check=False, cwd=tmp_path
    )
    text = ended.stdout.decode(errors="replace")
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")[-2000:]
    assert "\ndone\n" in f"\n{text}"
    assert "100000\n" in text
    assert "THE END\n" in text
    assert "last line" in text
    assert all("\x1b[2J" not in line or "hostile" in line for line in text.splitlines())


def test_a_reader_of_the_drivers_output_that_stops_reading_stops_no_worker(tmp_path: Path):
    """Lines wait in files while nobody takes them; the work goes on."""
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, manta
            from pathlib import Path
            manta.init(num_cpus=1)

            @manta.remote
            def flood():
                for number in range(20_000):
                    print("x" * 200)
                return 1

            done = manta.get([flood.remote() for _ in range(3)])
            Path(sys.argv[1]).write_text(str(sum(done)))
            """
        )
    )
    result = tmp_path / "result"
    driver = subprocess.Popen(
        [sys.executable, str(script), str(result)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(result.exists, what="the work to be done while its lines are not read", timeout_s=40)
    finally:
        assert driver.stdout is not None
        driver.communicate(timeout=20)
