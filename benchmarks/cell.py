"""One fresh process: start a system, measure the rows of one group, stop it.

Talks to its runner over two pipes, a line of JSON each way, so that whatever workers print cannot be mistaken for a
figure. The runner says when a row may begin: it calibrates first.

    runner -> cell   {"system", "group", "cpus", "rows": [{"name", "params"}], "budget", "root", "without", "profile"},
                     then two {} per row: begin, and seen (we look at the processes before anything stops)
    cell -> runner   {"event": "started", "seconds"}, then for each row {"event": "ready", "row"} and
                     {"event": "result", "row", "value", "parts", "extra", "also"} or {"event": "error", "row", "error"},
                     at last {"event": "stopped", "seconds"}
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import IO, Any

from benchmarks import procs
from benchmarks.systems import OUTSIDE, Lab, make
from benchmarks.timing import Budget, Sample


def main() -> None:
    """Entry point: `python -m benchmarks.cell <read fd> <write fd>`."""
    orders, answers = os.fdopen(int(sys.argv[1])), os.fdopen(int(sys.argv[2]), "w", buffering=1)
    for stream in (orders, answers):  # workers must not keep the pipes open after us
        os.set_inheritable(stream.fileno(), False)
    run(json.loads(orders.readline()), orders, answers)


def run(order: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    """Do what `order` says. An error in one row is reported and the next row begins; an error in start or stop ends the cell."""

    def say(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")

    cpus, root, without = order["cpus"], order["root"], tuple(order["without"])
    system = make(order["system"])
    start = time.monotonic()
    start_system: Callable[[int], None] = getattr(system, "start_outside" if order["group"] == OUTSIDE else "start")
    start_system(cpus)
    started = time.monotonic()
    say(event="started", seconds=started - start)
    workloads = system.workloads()

    def whole_memory() -> int:
        return sum(procs.memory(p.pid).own for p in procs.descendants(root, without))

    for row in order["rows"]:
        name = row["name"]
        if name == "idle_memory":
            workload: Callable[[Lab], Sample] | None = _idle(root, without, started)
        else:
            workload = workloads.get(name)
        say(event="ready", row=name)
        if not orders.readline():
            break  # the runner is gone; stop what we started
        try:
            if workload is None:
                raise NotImplementedError(f"{order['system']} has no {name} workload")
            lab = Lab(cpus, row["params"], Budget(**order["budget"]), whole_memory)
            with _profile(order.get("profile")):
                sample = workload(lab)
        except Exception as error:
            say(
                event="error",
                row=name,
                error=f"{type(error).__name__}: {error}"[:2000],
                trace=traceback.format_exc()[-4000:],
            )
        else:
            say(event="result", row=name, value=sample.value, parts=sample.parts, extra=sample.extra, also=sample.also)
        orders.readline()
    start = time.monotonic()
    system.stop()
    say(event="stopped", seconds=time.monotonic() - start)


def _idle(root: int, without: tuple[int, ...], started: float) -> Callable[[Lab], Sample]:
    """Memory of the system's own processes: everything of this cell but this process, the driver."""

    def idle_memory(lab: Lab) -> Sample:
        time.sleep(max(0.0, started + float(lab.params["after_init_s"]) - time.monotonic()))
        found = [(p, procs.memory(p.pid)) for p in procs.descendants(root, without) if p.pid != os.getpid()]
        own = sum(memory.own for _, memory in found) / 1e6
        extra = {
            "processes": {f"{p.command} {p.pid}": round(memory.own / 1e6, 1) for p, memory in found},
            "store_mb": round(sum(memory.store for _, memory in found) / 1e6, 1),
        }
        return Sample(own, (own,), extra)

    return idle_memory


class _profile:
    """Where this process spends its CPU time, by ITIMER_PROF: no second thread, so nobody waits for the GIL because of it.

    Off when `path` is None.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._seen: dict[str, int] = {}

    def __enter__(self) -> None:
        if self._path is not None:
            import signal

            signal.signal(signal.SIGPROF, self._hit)
            signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)

    def __exit__(self, *exc: object) -> None:
        if self._path is not None:
            import signal

            signal.setitimer(signal.ITIMER_PROF, 0)
            with open(self._path, "w") as file:
                json.dump(self._seen, file)

    def _hit(self, _number: int, frame: Any) -> None:
        where = "?"
        if frame is not None:
            code = frame.f_code
            where = f"{'/'.join(code.co_filename.rsplit('/', 3)[1:])}:{frame.f_lineno} {code.co_qualname}"
        self._seen[where] = self._seen.get(where, 0) + 1


if __name__ == "__main__":
    main()
