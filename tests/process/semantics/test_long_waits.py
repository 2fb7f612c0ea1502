"""A wait of ten seconds says once what it waits for. It takes as long: all kinds of waits share one driver."""

from __future__ import annotations

import re

import pytest

from tests.process.semantics.support import ANSI, Gate, manta_only, start_driver

pytestmark = [pytest.mark.shared_cluster, manta_only("Ray waits in silence")]

CLUSTER = None


def test_a_get_that_waited_ten_seconds_says_once_for_what(tmp_path):
    """A task that runs, one that has no CPU, an actor that is being made, a wait; what ends earlier says nothing."""
    gate = Gate(tmp_path / "gate")
    driver = start_driver(
        f"""
        import os, threading, time, manta
        manta.init(num_cpus=1)

        def until_opened():
            while not os.path.exists({gate.path!r}):
                time.sleep(0.05)

        @manta.remote
        def runs(name):
            until_opened()
            return name

        @manta.remote(num_cpus=0)
        class Slow:
            def __init__(self):
                until_opened()

            def call(self):
                return "made"

        class Watched(threading.Thread):
            def __init__(self, wait):
                super().__init__()
                self.wait = wait
                self.start()

            def run(self):
                self.seen = self.wait()

        slow = Slow.remote()
        first, second = runs.remote("first"), runs.remote("second")
        made = slow.call.remote()
        print(first.hex(), second.hex(), made.hex(), flush=True)
        waits = [Watched(lambda ref=ref: manta.get(ref)) for ref in (first, second, made)]
        waits.append(Watched(lambda: len(manta.wait([first], timeout=60)[0])))
        waits.append(Watched(lambda: len(manta.wait([first], timeout=1)[0])))
        for one in waits:
            one.join()
        print([one.seen for one in waits])
        """,
        tmp_path,
    )
    assert driver.stderr is not None
    lines: list[str] = []
    while sum("since 10 s" in line for line in lines) < 4:
        lines.append(driver.stderr.readline())
        assert lines[-1], lines
    gate.open()
    # `communicate` would pass over what has been read ahead of a line.
    lines += driver.stderr.readlines()
    stdout, _ = driver.communicate(timeout=40)
    stderr = ANSI.sub("", "".join(lines))
    ids, seen = stdout.splitlines()
    assert seen == "['first', 'second', 'made', 1, 0]", stderr
    first, second, made = ids.split()
    said = re.findall(r"waiting for ObjectRef\((\w+)\) \((.*?)\)", stderr)
    assert sorted(said) == sorted(
        [
            (first, next(text for oid, text in said if oid == first)),
            (first, next(text for oid, text in said if oid == first)),
            (second, next(text for oid, text in said if oid == second)),
            (made, next(text for oid, text in said if oid == made)),
        ]
    )
    texts = dict(said)
    assert re.match(r"task runs, with the worker of pid \d+", texts[first])
    assert re.match(r"task runs, (waiting for a worker with \{CPU: 1|behind)", texts[second]) or "pid" in texts[second]
    assert texts[made] == "call Slow.call, waiting for the actor, PENDING_CREATION"
    assert stderr.count("since 10 s") == 4
