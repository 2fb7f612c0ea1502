"""Start and stop a ProcessPoolExecutor. Its processes start with the first task, so that is where they are counted."""

import sys
from time import monotonic


def small_value() -> bytes:
    return b"ok"


if __name__ == "__main__":
    cpus, born, answer_fd = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    from concurrent.futures import ProcessPoolExecutor

    imported = monotonic()
    pool = ProcessPoolExecutor(cpus)
    started = monotonic()
    assert pool.submit(small_value).result() == b"ok"
    ran = monotonic()
    pool.shutdown()
    stopped = monotonic()

    import json
    import os

    answer = {
        "import": imported - born,
        "init": started - imported,
        "first_task": ran - started,
        "shutdown": stopped - ran,
    }
    os.write(answer_fd, json.dumps(answer).encode() + b"\n")
