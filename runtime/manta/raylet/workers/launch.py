"""Starting a factory process. Imports little: a node does this before anything else, so that both get ready side by side."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

#: A started factory and our end of the socket to it.
Launched = tuple["subprocess.Popen[bytes]", socket.socket]


def launch(logs: Path, *, environment: Mapping[str, str] | None = None, entry: str | None = None) -> Launched:
    """Start `python -m manta.worker`. From the main thread only: its PR_SET_PDEATHSIG speaks of the thread that started it.

    Args:
        logs: Folder that gets its output, which is only ever about its own failures.
        environment: Added to our own environment.
        entry: "module:function" that its workers run; None for what they are made for.

    Raises:
        OSError: It cannot be started.
    """
    ours, theirs = socket.socketpair()
    try:
        with (logs / "factory.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "manta.worker",
                    str(theirs.fileno()),
                    str(os.getpid()),
                    *([entry] if entry else []),
                ],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                # A Ctrl-C in the terminal is for the driver.
                start_new_session=True,
            )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours
