"""Who passes a signal on when, and who of a pod is still connected to control."""

from __future__ import annotations

import pytest

from manta.pod.ending import Ending, loopback_peers
from manta.pod.settings import Role


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.DASHBOARD, Role.RAYLET])
def test_a_signal_is_passed_on_at_once_and_once(role):
    ending = Ending(role, 20)
    assert not ending.due(0, False)
    ending.told(1)
    assert [ending.due(now, True) for now in (1, 1.1, 20)] == [True, False, False]


def test_a_raylet_that_outstays_its_grace_is_told_again():
    ending = Ending(Role.RAYLET, 20)
    ending.told(0)
    assert [ending.due(now, False) for now in (0, 24.9, 25, 26, 99)] == [True, False, True, False, False]


def test_control_waits_until_nobody_of_its_pod_is_connected():
    """Not for a moment only: a raylet may be about to dial again."""
    ending = Ending(Role.CONTROL, 20)
    ending.told(0)
    looks = [(0, True), (3, True), (3.1, False), (3.2, True), (4, False), (4.4, False), (4.5, False), (5, False)]
    assert [ending.due(now, others) for now, others in looks] == [False] * 6 + [True, False]


def test_control_waits_no_longer_than_its_grace():
    ending = Ending(Role.CONTROL, 20)
    ending.told(0)
    assert [ending.due(now, True) for now in (0, 19.9, 20, 21)] == [False, False, True, False]


@pytest.mark.parametrize("role", list(Role))
def test_a_second_signal_is_passed_on_at_once(role):
    ending = Ending(role, 20)
    ending.told(0)
    passed = ending.due(0, True)
    ending.told(1)
    assert ending.due(1, True)
    assert passed == (role is not Role.CONTROL)


HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(local: str, remote: str, state: str = "01") -> str:
    return f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 65532        0 1\n"


@pytest.mark.parametrize(
    ("local", "remote", "state", "counts"),
    [
        ("0100007F:1DB0", "0100007F:9C40", "01", True),
        # The other end of the same connection; one that waits to be closed; the listener.
        ("0100007F:9C40", "0100007F:1DB0", "01", False),
        ("0100007F:1DB0", "0100007F:9C40", "06", False),
        ("00000000:1DB0", "00000000:0000", "0A", False),
        # Another pod's.
        ("0700000A:1DB0", "0800000A:9C40", "01", False),
        # Another port.
        ("0100007F:1DB1", "0100007F:9C40", "01", False),
        # A listener on all addresses of both kinds.
        ("0000000000000000FFFF00000100007F:1DB0", "0000000000000000FFFF00000100007F:9C40", "01", True),
        ("0000000000000000FFFF00000700000A:1DB0", "0000000000000000FFFF00000800000A:9C40", "01", False),
        ("00000000000000000000000001000000:1DB0", "00000000000000000000000001000000:9C40", "01", True),
        ("000000FD000000000000000007000000:1DB0", "000000FD000000000000000001000000:9C40", "01", False),
    ],
)
def test_connections_of_this_pod_are_found_in_the_kernel_s_tables(local, remote, state, counts):
    assert loopback_peers([HEAD + row(local, remote, state)], 7600) == counts


def test_tables_without_rows_have_none():
    assert loopback_peers(["", HEAD, HEAD + "\n"], 7600) == 0
