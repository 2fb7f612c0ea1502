"""An embedded cluster's dashboard: `init(include_dashboard=True)`, where it is, and how its user gets in."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import urllib.parse

import pytest

import manta
from manta.core.errors import SettingError
from tests.support.waiting import wait_until

SHAPE = {"num_cpus": 1, "object_store_memory": 80 << 20, "log_to_driver": False}


@pytest.fixture(autouse=True)
def left_afterwards():
    yield
    manta.shutdown()


def status(url, method="GET", path="/", **fields):
    """Of one request."""
    host, _, port = url.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        body = urllib.parse.urlencode(fields) if fields else None
        connection.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        return connection.getresponse().status
    finally:
        connection.close()


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "manta.cli", "dashboard", *words],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def test_it_is_where_the_context_says_for_all_drivers_and_ends_with_its_cluster():
    context = manta.init(**SHAPE, include_dashboard=True)
    url = context.dashboard_url
    assert context.address_info["webui_url"] == url
    assert f'href="http://{url}"' in context._repr_html_()
    assert status(url, path="/healthz") == 200
    assert status(url) == 401

    said = command("-o", "json")
    assert said.returncode == 0, said.stderr
    facts = json.loads(said.stdout)
    assert facts["url"] == f"http://{url}"
    assert os.stat(facts["tokens"]).st_mode & 0o077 == 0
    ticket = urllib.parse.parse_qs(urllib.parse.urlsplit(facts["sign_in"]).query)["ticket"][0]
    assert status(url, "POST", "/sign-in", ticket=ticket) == 303
    assert status(url, "POST", "/sign-in", ticket=ticket) == 401

    script = "import manta; print(manta.init('auto', log_to_driver=False).address_info['webui_url'])"
    other = wait_until(
        lambda: subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip()
    )
    assert other == url

    manta.shutdown()
    with pytest.raises(ConnectionRefusedError):
        status(url)


def test_a_port_that_is_taken():
    """The usual one gives way, one that was asked for is an error that names it; and no process is left of that."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            SettingError, match=f"dashboard_port='{port}': expected a port of 127.0.0.1 on which nobody"
        ):
            manta.init(**SHAPE, include_dashboard=True, dashboard_port=port)
    assert not manta.is_initialized()
    with socket.socket() as usual:
        ours = True
        try:
            usual.bind(("127.0.0.1", 8265))
            usual.listen()
        except OSError:
            ours = False  # somebody else has it, which is as good as long as they do
        url = manta.init(**SHAPE, include_dashboard=True).dashboard_url
        assert url.rpartition(":")[2] != "8265" or not ours


def test_without_being_asked_for_there_is_none_and_the_command_says_how_there_would_be():
    context = manta.init(**SHAPE)
    assert context.dashboard_url == context.address_info["webui_url"] == ""
    assert "Dashboard" not in context._repr_html_()
    said = command()
    assert said.returncode == 1
    assert "include_dashboard=True" in said.stderr
