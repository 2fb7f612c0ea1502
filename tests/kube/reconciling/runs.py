"""What tests of a running operator have in common: one behind a proxy, and waiting for what it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.kube.harness.control_plane import ControlPlane
from tests.kube.harness.operator import Operator, operator
from tests.kube.harness.proxy import Fault, FaultProxy, fault_proxy
from tests.kube.reconciling.states import Place, differences

#: On a machine where eight other things run.
PATIENCE_S = 60.0
#: Without a write for so long an operator is taken to rest.
QUIET_S = 0.5
#: And how long nothing may be written then.
REST_S = 3.0


async def until(condition: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
    """Wait for something to be true. It is asked in a thread: the proxies go on meanwhile."""
    try:
        async with asyncio.timeout(within_s):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"after {within_s:g} s still not: {what}") from None


@asynccontextmanager
async def running(
    kube: ControlPlane, identity: Path, folder: Path, *places: Place, lease: str = "manta-operator", lease_s: int = 15
) -> AsyncIterator[tuple[Operator, FaultProxy]]:
    """An operator for these namespaces, behind a proxy of its own."""
    async with behind(kube, identity, folder) as proxy:
        with started(proxy, folder, *places, lease=lease, lease_s=lease_s) as process:
            yield process, proxy


@asynccontextmanager
async def behind(kube: ControlPlane, identity: Path, folder: Path, *faults: Fault) -> AsyncIterator[FaultProxy]:
    """A proxy with faults."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - of a test
    async with fault_proxy(kube, identity, folder) as proxy:
        for fault in faults:
            proxy.add(fault)
        yield proxy


def started(proxy: FaultProxy, folder: Path, *places: Place, lease: str = "manta-operator", lease_s: int = 15):
    """An operator behind a proxy that is there."""
    return operator(
        proxy.kubeconfig,
        folder,
        *(place.namespace for place in places),
        lease_namespace=places[0].namespace,
        lease=lease,
        lease_s=lease_s,
    )


async def settled(place: Place, process: Operator | None = None) -> None:
    """The cluster is as it was wanted."""

    def done() -> bool:
        assert process is None or process.alive, f"the operator ended:\n{process.log.read_text()[-4000:]}"
        return place.settled()

    try:
        await until(done, "the cluster is as it was wanted")
    except AssertionError as error:
        log = "" if process is None else process.log.read_text()[-6000:]
        raise AssertionError(f"{error}\n{place.mine.get('status')}\n{place.pods()}\n{log}") from None


async def alike(place: Place, wanted: dict[str, Any], process: Operator, within_s: float = PATIENCE_S) -> None:
    """The cluster is as it was wanted, and looks like another one of that spec."""
    await settled(place, process)
    try:
        await until(lambda: place.settled() and place.state() == wanted, "it looks as it should", within_s)
    except AssertionError as error:
        log = process.log.read_text()[-4000:]
        lines = "\n".join(differences(place.state(), wanted))
        raise AssertionError(f"{error}:\n{lines}\n{log}") from None


async def rests(*proxies: FaultProxy) -> None:
    """Nothing is written any more, Leases aside, once the last words of what was done are said."""
    before: list[int] = []

    async def quiet() -> None:
        nonlocal before
        while before != (now := [proxy.changes for proxy in proxies]):
            before = now
            await asyncio.sleep(QUIET_S)

    await asyncio.wait_for(quiet(), PATIENCE_S)
    await asyncio.sleep(REST_S)
    late = [
        (one.method, one.path)
        for proxy, count in zip(proxies, before, strict=True)
        for one in proxy.requests
        if one.change > count
    ]
    assert late == [], f"written at rest: {late}"


def unchanged(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]], besides: Iterable[str] = ()) -> None:
    """Every byte of every Secret that there was is still there."""
    for name, data in before.items():
        if name not in besides:
            assert after.get(name) == data, f"{name} is another one now"
