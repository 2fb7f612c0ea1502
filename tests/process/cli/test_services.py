"""The head's own processes: where their metrics are, and that they come back when they are killed."""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

import manta
from manta.cli.tool import Tool
from manta.core.errors import MantaError
from tests.process.cli.conftest import wait_until_gone
from tests.process.cli.test_start import cli, started
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.cli.test_start import Cli

__all__ = ["cli"]


def viewer_of(head: dict[str, Any]) -> str:
    folder = os.path.dirname(head["join_file"])
    with open(os.path.join(folder, "tokens")) as file:
        return next(line.split()[1] for line in file if line.startswith("viewer "))


def scrape(address: str, token: str = "") -> str:
    request = urllib.request.Request(f"{address}/metrics")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def service(cli: Cli, head: dict[str, Any], name: str) -> dict[str, int]:
    _, out, _ = cli("status", "-o", "json", "--address", f"unix:{head['raylet']}")
    found: dict[str, int] = json.loads(out)["services"][name]
    return found


def kill(cli: Cli, head: dict[str, Any], name: str) -> None:
    """Kill one of the head's processes, and wait until another is there."""
    pid = service(cli, head, name)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    wait_until(lambda: service(cli, head, name)["pid"] not in (0, pid), timeout_s=20, what=f"another {name}")
    assert service(cli, head, name)["restarts"] == 1


def test_every_process_of_head_and_node_shows_its_numbers_to_a_viewer_and_to_nobody_else(cli):
    head = started(cli, "--head")
    node = started(cli, "--join-file", head["join_file"])
    assert sorted(head["metrics"]) == ["control", "dashboard", "gateway", "raylet"]
    assert sorted(node["metrics"]) == ["raylet"]
    token = viewer_of(head)
    for address in (*head["metrics"].values(), *node["metrics"].values()):
        assert "# TYPE manta_" in scrape(address, token)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            scrape(address)
        with urllib.request.urlopen(f"{address}/healthz", timeout=10) as answer:
            assert answer.status == 200
    assert 'manta_service_up{service="gateway"} 1.0' in scrape(head["metrics"]["raylet"], token)
    code, out, _ = cli("status", "-o", "wide", "--address", f"unix:{head['raylet']}")
    assert code == 0
    for address in head["metrics"].values():
        assert f"{address}/metrics" in out


def test_a_head_without_metrics_has_no_port_for_them(cli):
    head = started(cli, "--head", "--no-metrics", "--no-gateway", "--no-dashboard")
    assert head["metrics"] == {}


def test_killed_gateway_and_dashboard_come_back_where_they_were(cli, monkeypatch):
    """Sessions end with their gateway, and their drivers hear so; new drivers come in at the same address."""
    head = started(cli, "--head")
    folder = os.path.dirname(head["join_file"])
    monkeypatch.setenv("MANTA_CA_FILE", os.path.join(folder, "ca.crt"))
    monkeypatch.setenv("MANTA_TOKEN_FILE", os.path.join(folder, "driver.token"))

    @manta.remote
    def double(x):
        return 2 * x

    manta.init(head["gateway"])
    assert manta.get(double.remote(1)) == 2
    kill(cli, head, "gateway")
    with pytest.raises(MantaError, match="no such session"):
        manta.get(double.remote(2), timeout=30)
    manta.shutdown()
    manta.init(head["gateway"])
    assert manta.get(double.remote(3)) == 6
    manta.shutdown()

    trusted = ssl.create_default_context(cafile=os.path.join(folder, "ca.crt"))
    request = urllib.request.Request(f"{head['dashboard']}/api/version")
    request.add_header("Authorization", f"Bearer {viewer_of(head)}")

    def answers() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    assert answers()
    for words in (["/bin/sh", "-c", "true"], [sys.executable, "-m", "manta.control"]):
        with Tool(head["raylet"]) as tool, pytest.raises(MantaError, match="no other program"):
            tool.keep("gateway", os.getpid(), words)
    kill(cli, head, "dashboard")
    wait_until(answers, timeout_s=20, what="the dashboard to answer again")
