"""Connections that break while the processes at both ends live: calls go on where they stood, and none runs twice."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

import manta
from manta.client import current, leasing
from manta.client.direct import DirectSession
from manta.exceptions import ActorUnavailableError, WorkerCrashedError
from tests.process.cluster.support import running_cluster
from tests.process.semantics.support import Gate, Ledger
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


class Counter:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.count = 0

    def add(self, number: int, gate: Gate | None = None) -> int:
        self.ledger.write(number)
        if gate is not None:
            gate.wait()
        self.count += 1
        return number


class AsyncCounter:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def add(self, number: int, gate: Gate | None = None) -> int:
        import asyncio

        self.ledger.write(number)
        while gate is not None and not gate.is_open():
            await asyncio.sleep(0.005)
        return number


KINDS = {
    "serial": lambda ledger: manta.remote(Counter).remote(ledger),
    "threads": lambda ledger: manta.remote(Counter).options(max_concurrency=3).remote(ledger),
    "async": lambda ledger: manta.remote(AsyncCounter).remote(ledger),
}


def session() -> DirectSession:
    found = current.session
    assert isinstance(found, DirectSession)
    return found


def cut(link: Any) -> None:
    """Both ends see the end of the connection; what was on its way is lost."""
    link.connection._sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_an_actor_go_on_when_the_connection_breaks(tmp_path: Path, kind: str):
    """Those that run, that wait there, that wait here, and that are made afterwards; over and over."""
    gate, ledger = Gate(tmp_path / "gate"), Ledger(tmp_path / "ledger")
    with running_cluster(num_cpus=2):
        actor = KINDS[kind](ledger)
        refs = [actor.add.remote(0)]
        manta.get(refs)
        client = actor._client
        refs += [actor.add.remote(number, gate) for number in range(1, 20)]
        for number in range(20, 80):
            if number % 20 == 0:
                before = client.link
                with session().lock:
                    session().flush()
                    cut(before)
                wait_until(lambda before=before: client.link not in (None, before), what="another connection")
            refs.append(actor.add.remote(number))
        gate.open()

        assert manta.get(refs, timeout=30) == list(range(80))
        assert sorted(map(int, ledger.read())) == list(range(80)), "each ran once"
        assert kind != "serial" or ledger.read() == [str(number) for number in range(80)]


def test_calls_that_never_arrived_are_pushed_again_under_their_old_numbers(tmp_path: Path):
    """The connection ends before the frame is read: written to a socket whose other end is gone."""
    ledger = Ledger(tmp_path / "ledger")
    with running_cluster(num_cpus=2):
        actor = KINDS["serial"](ledger)
        assert manta.get(actor.add.remote(0)) == 0
        with session().lock:
            cut(actor._client.link)
            refs = [actor.add.remote(number) for number in range(1, 50)]
            session().flush()

        assert manta.get(refs, timeout=30) == list(range(1, 50))
        assert ledger.read() == [str(number) for number in range(50)]


def test_the_stream_of_a_connection_that_broke_fails_and_the_actor_goes_on(tmp_path: Path):
    gate = Gate(tmp_path / "gate")

    @manta.remote
    class Source:
        def items(self):
            yield 1
            gate.wait()
            yield 2

        def fine(self) -> bool:
            return True

    with running_cluster(num_cpus=2):
        source = Source.remote()
        stream = source.items.remote()
        assert manta.get(next(stream)) == 1
        with session().lock:
            cut(source._client.link)
        gate.open()
        with pytest.raises(ActorUnavailableError, match="the actor lives"):
            while True:
                manta.get(next(stream))
        assert manta.get(source.fine.remote(), timeout=30)


def test_tasks_of_a_lease_whose_connection_broke_end(tmp_path: Path, monkeypatch):
    """What ran may have run: a retry, or the error. What had not begun costs nothing. The worker is ended: it is of no use."""
    monkeypatch.setattr(leasing, "BROKEN_S", 0.2)
    gate, ledger = Gate(tmp_path / "gate"), Ledger(tmp_path / "ledger")

    @manta.remote(max_retries=0)
    def once() -> int:
        ledger.write(os.getpid())
        gate.wait()
        return 1

    @manta.remote(max_retries=1)
    def twice() -> int:
        ledger.write(os.getpid())
        gate.wait()
        return 2

    with running_cluster(num_cpus=1) as cluster:
        for function, runs in ((once, 1), (twice, 2)):
            before = len(ledger.read())
            ref = function.remote()
            wait_until(lambda before=before: len(ledger.read()) > before, what="it runs")
            with session().lock:
                (lease,) = session().leasing.leases.values()
                cut(lease.connection)
            if function is once:
                with pytest.raises(WorkerCrashedError, match="the connection to its worker broke"):
                    manta.get(ref, timeout=30)
            else:
                wait_until(lambda before=before: len(ledger.read()) == before + 2, what="it runs again")
                gate.open()
                assert manta.get(ref, timeout=30) == 2
            assert len(ledger.read()) == before + runs
        wait_until(lambda: not cluster.unrest(), what="nothing is taken or wanted")
