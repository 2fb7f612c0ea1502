"""The operator as what it is, a process: started, paused, killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.kube.harness.control_plane import ROOT
from tests.support.pausing import go_on, pause

#: How long one that is told to end may take.
END_S = 20.0


class Operator:
    """A running one.

    Attributes:
        log: What it says.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """As a machine that loses power."""
        self.process.kill()

    def pause(self) -> None:
        """It does nothing any more, and does not know."""
        pause(self.process.pid)

    def resume(self) -> None:
        """It goes on where it was."""
        go_on(self.process.pid)

    def end(self) -> int:
        """Tell it to end; its status."""
        self.process.terminate()
        return self.process.wait(END_S)


@contextmanager
def operator(
    kubeconfig: Path,
    folder: Path,
    *namespaces: str,
    lease_namespace: str,
    lease: str = "manta-operator",
    lease_s: int = 15,
    more: Sequence[str] = (),
) -> Iterator[Operator]:
    """Have one for a block; killed at its end if it still runs.

    Args:
        kubeconfig: As whom, and through which proxy.
        folder: For its log.
        namespaces: That it looks after; none for all.
        lease_namespace: Where its Lease is.
        lease: Its Lease. One that takes over from a killed one need not wait for the end of the lease if it has another.
        lease_s: How long the lease is.
        more: Further flags.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"operator-{lease}-{len(list(folder.glob('operator-*')))}.log"
    command = [
        sys.executable, "-m", "manta_operator", "--kubeconfig", str(kubeconfig), "--namespaces", ",".join(namespaces),
        "--lease-namespace", lease_namespace, "--lease-name", lease, "--lease-seconds", str(lease_s),
        "--metrics-port", "-1", *more,
    ]  # fmt: skip
    paths = [path for path in sys.path if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment
        )
    running = Operator(process, log)
    try:
        yield running
    finally:
        running.resume()
        running.kill()
        process.wait()
