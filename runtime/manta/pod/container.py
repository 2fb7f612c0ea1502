"""One container from its first word to its last: volumes laid out, the server started, told to end, and its code passed on."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import suppress
from typing import Final

from manta.core.errors import MantaError, SettingError
from manta.pod import commands, session
from manta.pod.ending import Ending, loopback_peers
from manta.pod.first import First, leave, say
from manta.pod.jobs import Jobs
from manta.pod.mounted import Mounted
from manta.pod.places import Places, make_private
from manta.pod.settings import Role, Settings
from manta.transport import first_word

#: How often the Secret is looked at, and, once a signal has come, whether it is time to pass it on, seconds.
LOOK_S: Final = 1.0
END_LOOK_S: Final = 0.1
#: What is left of a drained node stays so long, if nobody takes its pod away.
LEFT_S: Final = 60.0
#: Who may wait in line for a server's health.
_BACKLOG: Final = 32
#: Of a shell's: what a process that was killed by a signal is said to have ended with.
_BY_SIGNAL: Final = 128


class Container:
    """A container's first process.

    Args:
        settings: What it is.
        places: Its volumes.

    Raises:
        SettingError: A volume cannot be used.
        CertificateError: The Secret lacks something.
    """

    def __init__(self, settings: Settings, places: Places) -> None:
        self._settings, self._places = settings, places
        self._session = places.session(settings.cluster)
        self._prepare()
        self._secret = self._mounted()
        self._ending = Ending(settings.role, settings.grace_s)
        #: The server's process id, and how it ended.
        self._server = 0
        self._ended: int | None = None
        self._said = self._says = -1
        self._complained = ""

    def _prepare(self) -> None:
        make_private(os.path.dirname(self._places.credentials))
        if self._settings.role is Role.CONTROL:
            make_private(os.path.dirname(self._places.control_session()))
            make_private(self._places.control_session())
            make_private(os.path.join(self._places.state, "control"))
            return
        session.make(self._session)
        if self._settings.role is Role.RAYLET:
            swept = session.sweep(self._session)
            if swept:
                say(f"removed what a raylet before left: {', '.join(swept)}")

    def _mounted(self) -> Mounted:
        try:
            return Mounted(self._places.secret, self._places.credentials, commands.needed(self._settings))
        except OSError as wrong:
            expected = f"a volume that user {os.getuid()} may write to ({wrong.strerror})"
            raise SettingError("a folder of this container", self._places.private, expected) from wrong

    def run(self) -> int:
        """Until the server has ended; the exit status."""
        # As the operator says to the container, for whoever comes by `kubectl exec`; where a test has put it, it cannot know.
        environ = {**os.environ, "MANTA_TMPDIR": self._places.run}
        with First(environ, lambda: self._ending.told(time.monotonic())) as first:
            jobs = self._jobs(first)
            self._start(first)
            looked = time.monotonic()
            while self._runs():
                first.turn(END_LOOK_S if self._ending.begun else LOOK_S)
                now = time.monotonic()
                if now - looked >= LOOK_S:
                    looked = now
                    self._look()
                if self._runs() and self._ending.due(now, self._others()):
                    os.kill(self._server, signal.SIGTERM)
            self._outlive(first)
            if jobs is not None and jobs.running:
                say(f"the raylet's end is that of the jobs beside it: {', '.join(jobs.running)}")
            if os.getpid() != 1:
                # Of a first process's the kernel ends them.
                for pid in first.children:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        code = self._ended or 0
        if code < 0:
            leave(f"{self._settings.role} was killed by {_name(-code)}")
            return _BY_SIGNAL - code
        return code

    def _outlive(self, first: First) -> None:
        """A raylet that left in good order was drained: the pod goes next, and must not become a new node until it does."""
        if self._settings.role is not Role.RAYLET or self._ended != 0:
            return
        until, said = time.monotonic() + LEFT_S, False
        while not self._ending.begun and time.monotonic() < until:
            if not said:
                said = True
                say(
                    f"the raylet has left its cluster; its container stays for {LEFT_S:g} s, or until it is told to end"
                )
            first.turn(LOOK_S)

    def _start(self, first: First) -> None:
        words, inherit = commands.words(self._settings, self._places), list[int]()
        if self._settings.role is Role.RAYLET:
            self._said, self._says = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            words += ["--ready-fd", str(self._says)]
            inherit.append(self._says)
        listener = self._listener()
        if listener is not None:
            words += ["--metrics-fd", str(listener.fileno())]
            inherit.append(listener.fileno())
        self._server = first.start(words, self._server_ended, inherit=inherit)
        if listener is not None:
            listener.close()
        if self._says >= 0:
            os.close(self._says)
            first.watch(self._said, lambda: self._ready(first))

    def _listener(self) -> socket.socket | None:
        """The port of health, open before the server has read its modules: who asks too early waits in line until it answers.

        A kubelet that is refused asks again a second later.
        """
        host, port = commands.metrics_at(self._settings)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError:
            return None  # the server will say what is wrong with it

    def _server_ended(self, code: int) -> None:
        self._ended = code

    def _runs(self) -> bool:
        return self._ended is None

    def _ready(self, first: First) -> None:
        word = os.read(self._said, first_word.LONGEST_BYTES)
        first.forget(self._said)
        os.close(self._said)
        try:
            facts = json.loads(first_word.understand(word))
        except EOFError:
            return  # its end says more
        except MantaError as wrong:
            leave(f"the raylet did not start: {wrong}")
            return
        session.raylet_is_ready(self._session, facts, self._settings.control)

    def _jobs(self, first: First) -> Jobs | None:
        settings, places = self._settings, self._places
        if settings.role is not Role.RAYLET or not settings.head:
            return None

        def supervisor(job_id: str) -> list[str]:
            from manta.jobs.states import check_id  # late: not every head has jobs

            return commands.supervisor(settings, places, check_id(job_id))

        return Jobs(first, os.path.join(self._session, commands.JOBS_SOCKET), supervisor)

    def _look(self) -> None:
        if self._secret.look():
            say("the Secret has changed; its copies were renewed")
        if self._secret.failure != self._complained:
            self._complained = self._secret.failure
            if self._complained:
                say(f"the Secret has changed and is not used: {self._complained}")

    def _others(self) -> bool:
        """Whether somebody of this pod is connected to control."""
        if self._settings.role is not Role.CONTROL or not self._ending.begun:
            return False
        tables = []
        for name in ("tcp", "tcp6"):
            with suppress(OSError), open(f"/proc/self/net/{name}") as file:
                tables.append(file.read())
        return loopback_peers(tables, commands.CONTROL_PORT) > 0


def _name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
