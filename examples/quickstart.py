"""What to run first: a cluster inside this machine, tasks, an actor, shared arrays. Takes a few seconds.

python examples/quickstart.py
"""

import math
import os
import platform
import sys
import time

import manta

try:
    import numpy as np
except ImportError:  # optional: the shared memory below then holds plain bytes
    np = None

LIMIT, CHUNK = 10_000_000, 250_000
KNOWN_ANSWER = 664_579  # primes below ten million
ARRAY_BYTES = 64 * 1024 * 1024


def count_primes(start, stop):
    """How many primes are in [start, stop): a sieve of that window, in plain Python."""
    window = bytearray([1]) * (stop - start)
    for n in range(2, math.isqrt(stop) + 1):
        first = max(n * n, -(-start // n) * n)
        window[first - start :: n] = bytes(len(range(first, stop, n)))
    return sum(window) - sum(1 for n in (0, 1) if start <= n < stop)


@manta.remote
def count_primes_task(start, stop):
    """A task: `.remote()` calls of it are run by worker processes. Says which one it was, too."""
    return count_primes(start, stop), os.getpid()


@manta.remote
class Scoreboard:
    """An actor: one process that keeps state between calls. What it prints appears here, with its name and process id."""

    def __init__(self):
        self.best = (-1, None)

    def report(self, chunk, total):
        if total > self.best[0]:
            self.best = (total, chunk)
        if chunk in (15, 31, 47):
            print(f"slice {chunk + 1} has come; the largest sum so far is that of slice {self.best[1] + 1}")

    def largest(self):
        return self.best


@manta.remote
def add_up(shared, chunk, chunks, scoreboard):
    """Read one slice of the shared array (mapped, not copied) and tell the actor what it adds up to."""
    size = len(shared) // chunks
    total = int(sum(shared[chunk * size : (chunk + 1) * size]) if np is None else shared[chunk * size :][:size].sum())
    manta.get(scoreboard.report.remote(chunk, total))
    return total


def as_they_end(refs):
    """Yield results in the order in which they come, with a progress line when somebody watches."""
    pending, watched = list(refs), sys.stderr.isatty()
    while pending:
        ready, pending = manta.wait(pending)
        if watched:
            done = (len(refs) - len(pending)) * 30 // len(refs)
            end = "" if pending else "\n"
            sys.stderr.write(f"\r  [{'#' * done}{'.' * (30 - done)}] {len(refs) - len(pending)}/{len(refs)} tasks{end}")
        yield manta.get(ready[0])


def timed(work):
    """(what `work()` returned, how many seconds it took)."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def main():
    context, init_s = timed(lambda: manta.init(logging_level="WARNING"))
    with context:
        resources = manta.cluster_resources()
        cpus, store = int(resources["CPU"]), resources["object_store_memory"] / 2**30
        print(f"Manta {manta.__version__}, Python {platform.python_version()}, a cluster inside this machine")
        print(f"  {cpus} CPUs, up to {store:.1f} GiB of shared memory for objects; ready after {init_s:.2f} s")
        print(f"  this program (the driver) is process {os.getpid()}; workers are processes of their own\n")

        print(f"Tasks: count the primes below {LIMIT:,}, in {LIMIT // CHUNK} pieces")
        starts = range(0, LIMIT, CHUNK)
        alone, alone_s = timed(lambda: sum(count_primes(start, start + CHUNK) for start in starts))
        refs, submit_s = timed(lambda: [count_primes_task.remote(start, start + CHUNK) for start in starts])
        counted, wait_s = timed(lambda: list(as_they_end(refs)))
        found, workers = sum(count for count, _ in counted), sorted({pid for _, pid in counted})
        assert found == alone == KNOWN_ANSWER, (found, alone)
        print(f"  {found:,} primes, by worker processes {', '.join(map(str, workers))}")
        print(f"  {submit_s + wait_s:.2f} s there, {alone_s:.2f} s when this process did it alone\n")

        print(
            f"Shared memory and an actor: one array of {ARRAY_BYTES // 2**20} MiB, added up by 64 tasks that report to an actor"
        )
        print("  (lines that begin with a name and a pid were printed by a worker, and come here a moment later)")
        array = bytes(range(256)) * (ARRAY_BYTES // 256) if np is None else np.arange(ARRAY_BYTES // 8) % 1000
        shared, put_s = timed(lambda: manta.put(array))
        scoreboard = Scoreboard.remote()
        tasks = [add_up.remote(shared, chunk, 64, scoreboard) for chunk in range(64)]
        total, read_s = timed(lambda: sum(as_they_end(tasks)))
        assert total == int(sum(array) if np is None else array.sum())
        best, chunk = manta.get(scoreboard.largest.remote())
        print(f"  stored in {put_s * 1000:.0f} ms, added up in {read_s:.2f} s without being copied again: {total:,}")
        print(f"  the actor remembers the largest sum, {best:,}, of slice {chunk + 1}\n")

        echo = manta.remote(lambda x: x)
        manta.get(echo.remote(0))
        _, burst_s = timed(lambda: manta.get([echo.remote(n) for n in range(2000)]))
        _, one_s = timed(lambda: [manta.get(echo.remote(n)) for n in range(500)])
        print("What a task costs here: calls of a function that does nothing")
        print(
            f"  {2000 / burst_s:,.0f} a second, 2,000 submitted at once; {500 / one_s:,.0f} a second, one after the other"
        )
    print(
        f"\nDone in {time.perf_counter() - BEGAN:.1f} s; the cluster has ended with this program, nothing is left running."
    )
    print("Next: README.md says how to run a program of your own, and one written for Ray.")


if __name__ == "__main__":
    BEGAN = time.perf_counter()
    try:
        main()
    except manta.exceptions.UnsupportedPlatformError as elsewhere:
        sys.exit(str(elsewhere))
