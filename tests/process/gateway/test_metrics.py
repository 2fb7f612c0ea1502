"""The gateway's own port: health without a credential, numbers for whoever shows a token of the role file, TLS when asked for."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import ssl
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

import manta
from manta.core import errors
from tests.support import gateway
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.shared_cluster


@pytest.fixture(scope="module")
def door(module_sandbox) -> Iterator[gateway.Door]:
    folder = module_sandbox.path / "measured"
    folder.mkdir()
    with gateway.cluster(folder, "--metrics-port", "0", "--grace", "5") as door:
        yield door
    shutil.rmtree(folder)


@pytest.fixture
def environment(door, monkeypatch):
    for name, text in door.environment.items():
        monkeypatch.setenv(name, text)


def ask(door: gateway.Door, path: str, token: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", door.metrics_port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def numbers(door: gateway.Door) -> dict[tuple[str, ...], float]:
    status, text = ask(door, "/metrics", door.viewer)
    assert status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_it_is_well_and_becomes_ready_without_a_credential(door):
    assert ask(door, "/healthz") == (200, "ok\n")
    wait_until(lambda: ask(door, "/readyz") == (200, "ok\n"))


def test_numbers_want_a_token_of_the_role_file(door):
    assert ask(door, "/metrics")[0] == 401
    assert ask(door, "/metrics", "0" * 64)[0] == 401
    assert ask(door, "/metrics", door.viewer)[0] == 200
    assert ask(door, "/metrics", door.submitter)[0] == 200


def test_a_driver_is_counted_with_its_messages(door, environment):
    before = numbers(door)
    manta.init()
    assert manta.get(manta.put(b"x" * 1_000_000)) == b"x" * 1_000_000
    now = numbers(door)
    assert now["manta_gateway_sessions", "connected"] == 1
    assert now["manta_gateway_connections",] == 1
    opened = ("manta_gateway_connections_let_in_total", "open")
    assert now[opened] == before[opened] + 1
    assert now["manta_gateway_bytes_total", "in"] > before["manta_gateway_bytes_total", "in"] + 1_000_000
    assert now["manta_gateway_messages_total", "out"] > before["manta_gateway_messages_total", "out"]
    manta.shutdown()
    wait_until(lambda: numbers(door)["manta_gateway_connections",] == 0)


def test_refusals_are_counted_by_error(door, environment):
    with pytest.raises(errors.AuthenticationError):
        manta.init(token="0" * 64)
    refused = {key: value for key, value in numbers(door).items() if key[0] == "manta_gateway_refusals_total"}
    assert refused == {("manta_gateway_refusals_total", errors.AuthenticationError.code): 1}


def test_the_port_speaks_tls_when_it_is_given_a_certificate(door, module_sandbox):
    folder = module_sandbox.path / "secure"
    folder.mkdir()
    viewer, submitter = gateway.prepare(folder)
    files = ("--metrics-certificate", str(folder / "gateway.pem"), "--metrics-key", str(folder / "gateway.key"))
    secure = gateway.launch(folder, "/nowhere", viewer, submitter, "--metrics-port", "0", *files)
    try:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.check_hostname = False  # the name is the role's
        connection = http.client.HTTPSConnection("127.0.0.1", secure.metrics_port, timeout=10, context=context)
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        assert response.status == 503
        connection.close()
    finally:
        gateway.stop(secure)
        shutil.rmtree(folder)


@pytest.fixture
def second(door, module_sandbox, environment, monkeypatch):
    """A gateway that a test may kill, and one in its place."""
    folder = module_sandbox.path / "killed"
    folder.mkdir()
    viewer, submitter = gateway.prepare(folder)
    raylet = next(iter(door.process.args[4:5]))
    first = gateway.launch(folder, raylet, viewer, submitter)
    for name, text in first.environment.items():
        monkeypatch.setenv(name, text)
    started = [first]

    def again() -> None:
        bind = ("--bind", f"127.0.0.1:{first.port}")
        started.append(gateway.launch(folder, raylet, viewer, submitter, *bind))

    yield first, again
    manta.shutdown()
    for one in started[1:] or started:
        gateway.stop(one)
    shutil.rmtree(folder)


@manta.remote
class Slow:
    def work(self, seconds: float) -> float:
        import time

        time.sleep(seconds)
        return seconds


def test_a_killed_gateway_ends_its_sessions_and_calls_under_way_say_so(second):
    """Its session processes end with it; the one in its place knows none of them and says so to whoever resumes."""
    first, again = second
    manta.init()
    ref = Slow.remote().work.remote(60)
    sessions = gateway.session_processes(first)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    again()
    with pytest.raises(errors.RaySystemError, match=r"the session at .* is lost, and all it owned"):
        manta.get(ref, timeout=30)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in sessions))
    manta.shutdown()
    manta.init()
    assert manta.get(manta.put(1)) == 1
