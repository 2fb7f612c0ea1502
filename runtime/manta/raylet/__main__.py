"""`python -m manta.raylet`: one node, until SIGTERM, the end of its parent, or control's word that it is dead."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manta.core.capacity import capacity
from manta.core.environment import setting
from manta.core.errors import MantaError
from manta.core.resources import CPU, GPU, to_fixed
from manta.metrics import flags as metrics
from manta.raylet.child_services import read_command
from manta.raylet.config import RayletConfig
from manta.raylet.workers.guard import Guard, start_guard
from manta.raylet.workers.launch import FACTORY_LOG, Launched, launch
from manta.raylet.workers.process import become_subreaper
from manta.transport.addresses import parse_bind
from manta.transport.first_word import Starter
from manta.transport.first_word import add_flag as add_starter
from manta.transport.tls import read_cluster

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from manta.raylet.server import Raylet

log = logging.getLogger("manta.raylet")

#: Exit status when it could not start or go on: what is wrong is in the log and on the ready descriptor.
EXIT_FAILED = 70
#: Exit status when control has given the node up, which had not been asked to leave.
EXIT_FENCED = 71


def parse(arguments: Sequence[str] | None = None) -> tuple[RayletConfig, Starter, tuple[str, int] | None]:
    """Settings from flags, then environment; the descriptor that is told when the node is ready (-1 for none); and where the
    door is to be (None for a node without).

    Raises:
        SystemExit: A flag is wrong; argparse has said which.
        SettingError: An environment variable is.
    """
    parser = argparse.ArgumentParser(prog="python -m manta.raylet", description="One node of a cluster.")
    parser.add_argument(
        "--session-dir", type=Path, required=True, help="private folder of the session: sockets and logs"
    )
    parser.add_argument("--control", required=True, help="gRPC target of control: unix:PATH or HOST:PORT")
    parser.add_argument("--num-cpus", type=float, default=None, help="CPUs to lend (default: those it may use)")
    parser.add_argument("--num-gpus", type=float, default=0, help="GPUs to lend")
    parser.add_argument("--resources", default="{}", help='custom resources as JSON, {"name": amount}')
    parser.add_argument(
        "--memory", type=int, default=0, help="bytes of memory that tasks may ask for (default: 70%% of all)"
    )
    parser.add_argument("--object-store-memory", type=int, default=1 << 30, help="bytes of the object store")
    parser.add_argument("--labels", default="{}", help='labels as JSON, {"name": "value"}')
    parser.add_argument("--node-ip", default="127.0.0.1", help="address people know the node by")
    parser.add_argument("--node-name", default="", help="name of the node for people")
    parser.add_argument("--node-id", default="", help="56 hex digits (default: random)")
    parser.add_argument("--session-name", default="", help="name of the session (default: the folder's)")
    parser.add_argument("--door", type=parse_bind, default=None, help="HOST:PORT where other nodes dial; port 0: any")
    parser.add_argument("--credentials", default="", help="folder of this node's certificates; a door needs it")
    parser.add_argument("--token-file", type=Path, default=None, help="file with the session's token")
    parser.add_argument("--head", action="store_true", help="control runs beside this node")
    parser.add_argument("--control-pid", type=int, default=0, help="start control again when this process ends")
    parser.add_argument("--control-command", type=read_command, default=(), help="how, as a JSON list of words")
    parser.add_argument("--parent-pid", type=int, default=0, help="end with this process")
    parser.add_argument("--remove-session-dir", action="store_true", help="remove the session's folder at the end")
    add_starter(parser)
    parser.add_argument("--prestart", type=int, default=4, help="workers kept ready before the first driver comes")
    parser.add_argument("--drain-grace", type=float, default=60.0, help="seconds that SIGTERM leaves to what runs here")
    metrics.add(parser, usual_port=8090)
    parser.add_argument("--log-to-stderr", action="store_true", help="what goes to the log goes there too")
    parser.add_argument("--worker-entry", default=None, help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if flags.door is not None and not flags.credentials:
        parser.error("--door needs --credentials: without certificates anybody could run code here")
    found = capacity()
    cpus = flags.num_cpus if flags.num_cpus is not None else found.cpus
    resources = {CPU: to_fixed("num_cpus", cpus), GPU: to_fixed("num_gpus", flags.num_gpus)}
    memory = flags.memory or found.tasks_bytes
    resources["memory"] = to_fixed("memory", memory)
    resources["object_store_memory"] = to_fixed("object_store_memory", flags.object_store_memory)
    resources[f"node:{flags.node_ip}"] = to_fixed("node", 1)
    if flags.head:
        resources["node:__internal_head__"] = to_fixed("node", 1)
    for name, amount in json.loads(flags.resources).items():
        resources[name] = to_fixed(name, amount)
    if flags.token_file is not None:
        from manta.transport.auth import read_tokens

        _ = read_tokens(str(flags.token_file))  # what is wrong with it is said before anything starts
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = resources[GPU] // to_fixed("GPU", 1)
    gpu_ids = tuple(visible.split(","))[:gpus] if visible and len(visible.split(",")) >= gpus else None
    return (
        RayletConfig(
            session_dir=flags.session_dir.resolve(),
            control=flags.control,
            node_id=bytes.fromhex(flags.node_id) if flags.node_id else os.urandom(28),
            resources={name: amount for name, amount in resources.items() if amount},
            object_store_bytes=flags.object_store_memory,
            node_ip=flags.node_ip,
            node_name=flags.node_name,
            session_name=flags.session_name,
            gpu_ids=gpu_ids,
            labels=json.loads(flags.labels),
            head=flags.head,
            parent_pid=flags.parent_pid,
            worker_entry=flags.worker_entry,
            memory_threshold=setting("memory_usage_threshold"),
            memory_period_s=setting("memory_monitor_refresh_ms") / 1000,
            start_timeout_s=setting("worker_register_timeout_seconds"),
            prestart=flags.prestart,
            token_file=flags.token_file,
            remove_session_dir=flags.remove_session_dir,
            control_pid=flags.control_pid,
            control_command=flags.control_command,
            drain_grace_s=flags.drain_grace,
            tls_folder=os.path.abspath(flags.credentials) if flags.credentials else "",
            tls_cluster=read_cluster(flags.credentials) if flags.credentials else "",
            metrics=metrics.read(flags, "raylet"),
            log_to_stderr=flags.log_to_stderr,
        ),
        flags.starter,
        flags.door,
    )


async def run(
    config: RayletConfig, starter: Starter, guard: Guard, launched: Launched, door: socket.socket | None = None
) -> int:
    """Be a node until it is told to end; the exit code."""
    import asyncio

    from manta.raylet.server import serve

    loop = asyncio.get_running_loop()
    async with serve(config, guard=guard, launched=launched, door=door) as raylet:
        # The head's node cannot leave its cluster, it ends it.
        asked = raylet.end if config.control.startswith("unix:") else raylet.draining.ask
        loop.add_signal_handler(signal.SIGTERM, asked, "signal SIGTERM")
        loop.add_signal_handler(signal.SIGINT, raylet.end, "signal SIGINT")
        loop.add_signal_handler(signal.SIGCHLD, raylet.processes.reap)
        await joined(raylet)
        if raylet.refused is None:
            facts = {
                "channel": config.channel_path,
                "node_id": config.node_id.hex(),
                "pid": os.getpid(),
                "door": config.door,
            }
            starter.ready(json.dumps(facts))
        reason = await raylet.ended
        log.info("the node ends: %s", reason)
        await raylet.link.leave(f"it ended: {reason}")
    if raylet.refused is not None:
        raise raylet.refused
    # Given up without having been told to leave: whoever keeps nodes running may start another.
    return EXIT_FENCED if raylet.fenced and not raylet.draining.begun else 0


async def joined(raylet: Raylet) -> None:
    """Wait until a control on another machine has let the node in, or the node ends; beside its control it is ready before."""
    import asyncio

    if raylet.config.control.startswith("unix:"):
        return
    registered = asyncio.ensure_future(raylet.link.registered.wait())
    either: list[asyncio.Future[Any]] = [registered, raylet.ended]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    registered.cancel()


def main() -> int:
    """Parse, run, clean up."""
    try:
        config, starter, door_at = parse()
    except (MantaError, ValueError, OSError) as wrong:
        print(f"manta.raylet: {wrong}", file=sys.stderr)  # noqa: T201
        return 2
    config.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.FileHandler(config.logs / f"raylet-{config.node_id.hex()[:8]}.log")]
    if config.log_to_stderr:
        handlers.append(logging.StreamHandler())
    logging.basicConfig(handlers=handlers, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Of what our guard, should it be killed, can care for no longer.
    become_subreaper()
    try:
        door = None
        if door_at is not None:
            from manta.raylet.door import (  # late: of protobuf the guard, forked below, shall have nothing
                advertised,
                bind,
            )

            door = bind(*door_at)
            config = replace(config, door=advertised(door, config.node_ip))
        guard = start_guard()
        # First of all: it imports what it needs while we do the same.
        launched = launch(guard, config.logs / FACTORY_LOG, entry=config.worker_entry)
        import asyncio

        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(run(config, starter, guard, launched, door))
    except Exception as failure:
        log.exception("the node failed")
        starter.failed(failure)
        return EXIT_FAILED
    finally:
        if config.remove_session_dir:
            _remove(config.session_dir)


def _loop_factory() -> Callable[[], AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _remove(session_dir: Path) -> None:
    """The session's files go; its logs stay, they are what one reads after a crash."""
    for entry in session_dir.iterdir():
        if entry.name == "logs":
            continue
        with suppress(OSError):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()


if __name__ == "__main__":
    sys.exit(main())
