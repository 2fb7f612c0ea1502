"""Control as a process of its own, for tests that kill it."""

import contextlib
import os
import subprocess
import sys

from manta.transport import grpc as wire


class ControlProcess:
    """`python -m manta.control`, started again and again in one session directory."""

    def __init__(self, home, *options, failpoints=""):
        self.home, self.options, self.failpoints = home, options, failpoints
        self.process = None
        self.told = b""

    def start(self, failpoints=None):
        """Start it and wait until it serves or has said why not; returns what it said."""
        reading, writing = os.pipe()
        environment = {
            **os.environ,
            "MANTA_CONTROL_FAILPOINTS": self.failpoints if failpoints is None else failpoints,
            # Raylets of tests say nothing by themselves, and a busy machine takes its time.
            "MANTA_node_silence_seconds": "600",
        }
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "manta.control",
                "--session-dir",
                self.home,
                "--ready-fd",
                str(writing),
                *self.options,
            ],
            pass_fds=[writing],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(writing)
        with open(reading, "rb") as pipe:
            self.told = pipe.read()
        return self.told

    def kill(self):
        self.process.kill()
        return self.wait()

    def wait(self):
        self.output = self.process.communicate(timeout=30)
        return self.process.returncode

    @property
    def target(self):
        return wire.unix_target(os.fspath(self.home / "control.sock"))


@contextlib.asynccontextmanager
async def running(home, *options, **more):
    control = ControlProcess(home, *options, **more)
    assert control.start() == b"\1"
    try:
        yield control
    finally:
        control.kill()
