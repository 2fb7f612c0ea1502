"""Start and stop Dask distributed. Its workers import this file anew, hence the guard."""

import sys
from time import monotonic


def small_value() -> bytes:
    return b"ok"


def main() -> None:
    cpus, born, answer_fd = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    from distributed import Client, LocalCluster

    imported = monotonic()
    cluster = LocalCluster(n_workers=cpus, threads_per_worker=1, processes=True, dashboard_address=None)  # type: ignore[no-untyped-call, unused-ignore]
    client = Client(cluster)  # type: ignore[no-untyped-call, unused-ignore]
    started = monotonic()
    assert client.submit(small_value, pure=False).result() == b"ok"  # type: ignore[no-untyped-call, unused-ignore]
    ran = monotonic()
    client.close()  # type: ignore[no-untyped-call, unused-ignore]
    cluster.close()  # type: ignore[no-untyped-call, unused-ignore]
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


if __name__ == "__main__":
    main()
