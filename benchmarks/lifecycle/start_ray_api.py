"""Start and stop a system that speaks Ray's API, as a user's script would."""

import sys
from time import monotonic

module, cpus, born, answer_fd = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])

ray = __import__(module)
imported = monotonic()

ray.init(num_cpus=cpus)
started = monotonic()


@ray.remote  # type: ignore[attr-defined, untyped-decorator, unused-ignore]
def small_value() -> bytes:
    return b"ok"


assert ray.get(small_value.remote()) == b"ok"
ran = monotonic()

ray.shutdown()
stopped = monotonic()

import json  # noqa: E402  (after the last clock reading: its import is not the system's)
import os  # noqa: E402

answer = {"import": imported - born, "init": started - imported, "first_task": ran - started, "shutdown": stopped - ran}
os.write(answer_fd, json.dumps(answer).encode() + b"\n")
