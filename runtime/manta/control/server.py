"""Wiring only: opened in dependency order, ready at `yield`, closed in reverse."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from manta.aio.supervisor import Supervisor
from manta.control.config import ControlConfig, StorageKind
from manta.control.errors import StoppingError
from manta.control.listening import listen
from manta.control.logs import EventLog
from manta.control.metrics import ControlMetrics
from manta.control.model import Instant
from manta.control.nodes import NodeLimits
from manta.control.orders import Orders
from manta.control.records import decode
from manta.control.runner import Runner, system_clock
from manta.control.services.compose import compose
from manta.control.services.watch import present
from manta.control.state import ControlState, Limits
from manta.control.storage import Storage
from manta.control.watching import Watchers
from manta.core.errors import SettingError
from manta.metrics.port import opened
from manta.transport import grpc as wire
from manta.transport.accepted import Accepted

#: Longest path of a Unix socket, bytes.
SOCKET_PATH_LIMIT = 107


@dataclass(frozen=True, slots=True)
class Control:
    """A control that serves.

    Attributes:
        target: Its gRPC target on this machine.
        address: "host:port" where nodes on other machines join; empty for nowhere.
        state: For tests and in-process readers; never changed from outside.
        runner: Its performer.
        metrics_port: Where its health and metrics are; 0 for nowhere, or a Unix socket only.
    """

    target: str
    state: ControlState
    runner: Runner
    address: str = ""
    metrics_port: int = 0


def make_storage(config: ControlConfig) -> Storage:
    """The storage that the settings name. Each kind is imported only when it is used."""
    if config.storage is StorageKind.MEMORY:
        from manta.control.storage.memory import MemoryStorage

        return MemoryStorage()
    from manta.control.storage.sqlite import SqliteStorage

    return SqliteStorage(config.store_path)


@asynccontextmanager
async def serve(
    config: ControlConfig,
    *,
    storage: Storage | None = None,
    clock: Callable[[], Instant] = system_clock,
    limits: Limits | None = None,
) -> AsyncIterator[Control]:
    """Run control for the length of the block.

    Args:
        config: Settings.
        storage: Instead of the one that the settings name.
        clock: Now.
        limits: Bounds and times, for tests.

    Raises:
        StoreError: The store is in use, damaged, or failed while the block ran.
        SettingError: The socket can't be used.
    """
    async with AsyncExitStack() as stack:
        log = EventLog(config.log_path, config.log_limit_bytes, sys.stderr.fileno() if config.log_to_stderr else -1)
        stack.callback(log.close)
        store = storage or make_storage(config)
        stack.callback(store.close)
        # Nothing else runs yet, so the loop may wait for the disk.
        stored = decode(store.open(), store.name)
        limits = limits or Limits(nodes=NodeLimits(silence_s=config.node_silence_s))
        state = ControlState(stored, clock(), new_cluster_id=os.urandom(16), limits=limits)
        orders = Orders(log)
        tasks = await stack.enter_async_context(Supervisor(grace_s=5.0))
        runner = Runner(state, store, Watchers(present(state)), orders.tell, clock)

        def tell_shortage() -> None:
            short = runner.shortage
            if short is None:
                log.event("store_writable")
            else:
                log.event("store_unwritable", stuck=short.stuck, text=str(short.error))

        runner.on_shortage[tell_shortage] = None
        orders.attach(state, runner.decide)

        def fail(error: BaseException) -> None:
            if not runner.failure.done():
                runner.failure.set_exception(error)

        server = wire.server((config.token,) if config.token else None)
        most = wire.most_connections(wire.MOST_CONNECTIONS)
        accepted = Accepted(most)
        service = compose(runner, orders, log, fail, accepted.shown)
        server.add_generic_rpc_handlers((service.handler,))
        target = _bind(server, config.socket)
        stack.callback(config.socket.unlink, missing_ok=True)
        stack.push_async_callback(server.stop, config.stop_grace_s)
        far, address, far_port = None, "", 0
        if config.listen:
            far, address, far_port = listen(config, service.handler, most)
            stack.push_async_callback(far.stop, config.stop_grace_s)
        # The epoch is on disk before anybody hears of it, or nobody else can have it.
        try:
            await runner.settled_or_stuck()
        except StoppingError:
            # Whoever starts us should hear why, not only that.
            await runner.failure
            raise
        await server.start()
        if far is not None:
            await far.start()
            _ = tasks.start(accepted.keep_room(far_port), name="strangers")
        _ = tasks.start(runner.watch_time(), name="time")
        _ = tasks.start(_failing(runner, log), name="failure")
        metrics = ControlMetrics(state, runner.statistics, service.calls, accepted)
        port = await stack.enter_async_context(
            opened(
                config.metrics,
                metrics.text,
                unready=lambda: "control is stopping" if runner.failure.done() else "",
                # Anybody may read it: not where the store is.
                remark=lambda: f"nothing new is taken: {runner.shortage.error.reason}" if runner.shortage else "",
                token=lambda: (config.token,) if config.token else (),
            )
        )
        log.event("serving", target=target, address=address, metrics_port=port, **state.statistics())
        yield Control(target, state, runner, address, port)
        log.event("stopping", epoch=state.epoch)


async def _failing(runner: Runner, log: EventLog) -> None:
    try:
        await asyncio.shield(runner.failure)
    except Exception as error:
        log.event("failed", error=repr(error), text=str(error))
        raise


def _bind(server: grpc.aio.Server, path: Path) -> str:
    """Take the socket's place; what a killed control left there is removed."""
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise SettingError("socket", str(path), f"a path of at most {SOCKET_PATH_LIMIT} bytes")
    if path.exists():
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(os.fspath(path))
            except OSError:
                path.unlink(missing_ok=True)
            else:
                raise SettingError("socket", str(path), "a path on which no other control serves")
    target = wire.unix_target(os.fspath(path))
    # Nobody else may connect, whatever the directory allows.
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(target)
    finally:
        os.umask(mask)
    return target
