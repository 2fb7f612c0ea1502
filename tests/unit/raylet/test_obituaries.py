"""Nodes that control has declared dead: who is told, and what of theirs is closed."""

from __future__ import annotations

import asyncio
from typing import Any

from manta.raylet.clients import Client, Clients
from manta.raylet.obituaries import Obituaries
from manta.rpc.v1 import channel_pb2 as pb

DEAD, OTHER = b"d" * 28, b"o" * 28


class Connection:
    """Remembers."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed_for = ""

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def close(self, reason: str) -> None:
        self.closed_for = reason


def client(clients: Clients, name: bytes, role: Any, node_id: bytes = b"", *, welcomed: bool = True) -> Client:
    made = Client(Connection(), role, name * 28, 1, "", node_id=node_id, welcomed=welcomed)  # type: ignore[arg-type]
    assert clients.add(made)
    return made


def connection(of: Client) -> Any:
    return of.connection


def test_drivers_and_workers_hear_of_it_and_what_a_dead_node_leased_is_closed():
    clients = Clients()
    driver, worker = client(clients, b"1", pb.ROLE_DRIVER), client(clients, b"2", pb.ROLE_WORKER)
    tool, early = client(clients, b"3", pb.ROLE_TOOL), client(clients, b"4", pb.ROLE_WORKER, welcomed=False)
    theirs, others = (client(clients, n, pb.ROLE_LEASER, node) for n, node in ((b"5", DEAD), (b"6", OTHER)))
    obituaries = Obituaries(clients)

    obituaries.node_died(DEAD, "it was silent")

    news = pb.NodesDied(node_ids=[DEAD], reasons=["it was silent"])
    assert [connection(one).sent for one in (driver, worker, tool, early, theirs, others)] == [
        [news],
        [news],
        [],
        [],
        [],
        [],
    ]
    assert "it was silent" in connection(theirs).closed_for
    assert not connection(others).closed_for
    assert (obituaries.reason(DEAD), obituaries.reason(OTHER)) == ("it was silent", None)


def test_who_joins_later_hears_of_it_after_its_welcome():
    clients = Clients()
    obituaries = Obituaries(clients)
    obituaries.node_died(DEAD, "it was silent")
    late = client(clients, b"1", pb.ROLE_WORKER)

    async def join() -> None:
        obituaries.joined(late)
        connection(late).send("welcome")
        await asyncio.sleep(0)

    asyncio.run(join())
    assert connection(late).sent == ["welcome", pb.NodesDied(node_ids=[DEAD], reasons=["it was silent"])]


def test_only_a_process_that_leases_is_closed_when_its_raylet_says_that_it_is_gone():
    clients = Clients()
    driver, theirs = client(clients, b"1", pb.ROLE_DRIVER), client(clients, b"2", pb.ROLE_LEASER, OTHER)
    obituaries = Obituaries(clients)
    for one in (b"1", b"2", b"3"):
        obituaries.process_died(one * 28)
    assert (connection(driver).closed_for, bool(connection(theirs).closed_for)) == ("", True)
