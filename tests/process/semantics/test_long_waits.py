"""A wait of ten seconds says once what it waits for. It takes as long: all kinds of waits share one driver."""

from __future__ import annotations

import re

import pytest

from tests.process.semantics.support import manta_only, run_driver

pytestmark = [pytest.mark.shared_cluster, manta_only("Ray waits in silence")]

CLUSTER = None


def test_a_get_that_waited_ten_seconds_says_once_for_what(tmp_path):
    """A task that runs, one that has no CPU, an actor that is being made, a wait; what ends earlier says nothing."""
    ended = run_driver(
        """
        import threading, time, manta
        manta.init(num_cpus=1)

        @manta.remote
        def runs(seconds):
            time.sleep(seconds)
            return seconds

        @manta.remote(num_cpus=0)
        class Slow:
            def __init__(self):
                time.sleep(11)

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
        first, second = runs.remote(11), runs.remote(0)
        made = slow.call.remote()
        print(first.hex(), second.hex(), made.hex())
        waits = [Watched(lambda ref=ref: manta.get(ref)) for ref in (first, second, made)]
        waits.append(Watched(lambda: len(manta.wait([first], timeout=60)[0])))
        waits.append(Watched(lambda: len(manta.wait([first], timeout=1)[0])))
        for one in waits:
            one.join()
        print([one.seen for one in waits])
        """,
        tmp_path,
    )
    ids, seen = ended.lines
    assert seen == "[11, 0, 'made', 1, 0]", ended.stderr
    first, second, made = ids.split()
    said = re.findall(r"waiting for ObjectRef\((\w+)\) \((.*?)\)", ended.stderr)
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
    assert ended.stderr.count("since 10 s") == 4
