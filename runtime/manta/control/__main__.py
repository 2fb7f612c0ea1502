"""`python -m manta.control`: one control process. Prints nothing; says by a file descriptor when it is ready."""

from __future__ import annotations

from manta.transport import grpc_settings as _first  # isort: skip  # noqa: F401

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path

from manta.control.config import ControlConfig, StorageKind
from manta.control.server import serve
from manta.core.environment import setting
from manta.core.errors import MantaError
from manta.metrics import flags as metrics
from manta.transport import auth
from manta.transport.first_word import add_flag as add_starter

#: Exit status when it could not start or could not go on: what is wrong is in the log and on the ready descriptor.
EXIT_FAILED = 70


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m manta.control", description="Manta's control process.")
    parser.add_argument("--session-dir", type=Path, required=True, help="private directory for store and log")
    parser.add_argument("--socket", type=Path, help="Unix socket to serve on (default: control.sock in there)")
    parser.add_argument("--storage", type=StorageKind, default=StorageKind.SQLITE, help="sqlite (default) or memory")
    parser.add_argument("--token-file", type=Path, help="the session's token, mode 0600 (default: none is asked for)")
    parser.add_argument(
        "--listen", default="", metavar="HOST:PORT", help="where nodes on other machines join; port 0: any"
    )
    parser.add_argument("--state-dir", type=Path, help="private directory for the store (default: the session's)")
    parser.add_argument("--credentials", type=Path, help="folder of the cluster's certificates and its join token")
    parser.add_argument("--log-to-stderr", action="store_true", help="the log's lines go there too")
    parser.add_argument("--parent-pid", type=int, help="stop when this process is gone")
    add_starter(parser)
    metrics.add(parser, usual_port=8091)
    options = parser.parse_args(arguments)
    if options.listen and options.credentials is None:
        parser.error("--listen needs --credentials: without them anybody could be a node")
    return options


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM, the parent's end, or a failure."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if options.parent_pid:
        # Ctrl-C goes to the whole terminal; our end is the parent's.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            parent = os.pidfd_open(options.parent_pid)
        except ProcessLookupError:
            return
        loop.add_reader(parent, stop.set)
    else:
        loop.add_signal_handler(signal.SIGINT, stop.set)
    config = ControlConfig(
        session_dir=options.session_dir,
        socket=options.socket or options.session_dir / "control.sock",
        token=auth.read_token(os.fspath(options.token_file)) if options.token_file else "",
        listen=options.listen,
        state_dir=options.state_dir,
        credentials=options.credentials,
        storage=options.storage,
        log_to_stderr=options.log_to_stderr,
        metrics=metrics.read(options, "control"),
        node_silence_s=setting("node_silence_seconds"),
    )
    async with serve(config) as control:
        # What was made so far lives as long as we do: no collection needs to look at it again.
        gc.collect()
        gc.freeze()
        options.starter.ready(json.dumps({"address": control.address}) if control.address else "")
        await stop.wait()


def main() -> int:
    """Run until told to stop; returns the exit status."""
    options = parse(sys.argv[1:])
    try:
        asyncio.run(run(options))
    except MantaError as error:
        options.starter.failed(error)
        sys.stderr.write(f"manta.control: {error}\n")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
