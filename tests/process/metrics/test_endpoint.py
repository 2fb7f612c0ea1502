"""The ports of a raylet and of control: who is let in, and whether the numbers are true."""

import socket
import time

import psutil
import pytest

import manta
from manta.cli.tool import Tool
from manta.client import current
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


def _status():
    with Tool(current.session.raylet_endpoint) as tool:
        return tool.status()


@pytest.mark.parametrize("which", ["raylet", "control"])
def test_health_needs_no_token_and_metrics_do(ports, which):
    port = getattr(ports, which)

    wait_until(lambda: ports.ask(port, "/readyz")[0] == 200)
    assert (200, "ok\n") == ports.ask(port, "/healthz")
    assert 401 == ports.ask(port, "/metrics")[0]
    assert 401 == ports.ask(port, "/metrics", token="0" * 64)[0]
    assert 200 == ports.ask(port, "/metrics", token=ports.token)[0]
    assert 421 == ports.ask(port, "/metrics", token=ports.token, host="evil.example")[0]


def test_resources_are_those_of_the_ledger(ports):
    @manta.remote(num_cpus=1, resources={"disk": 2})
    class Holder:
        def here(self):
            return True

    holder = Holder.remote()
    assert manta.get(holder.here.remote())

    found = ports.scrape(ports.raylet)

    assert 2 == found["manta_resources", "CPU", "total"]
    assert 1 == found["manta_resources", "CPU", "used"]
    assert 3 == found["manta_resources", "disk", "total"]
    assert 2 == found["manta_resources", "disk", "used"]
    assert 1 == found["manta_workers", "busy"]
    assert 1 == ports.scrape(ports.control)["manta_actors", "ALIVE"]
    manta.kill(holder)
    wait_until(lambda: ports.scrape(ports.raylet)["manta_resources", "disk", "used"] == 0)


def test_bytes_of_the_store_are_its_own_account_and_the_values_size(ports):
    before = ports.scrape(ports.raylet)
    ref = manta.put(bytes(5_000_000))
    found = wait_until(
        lambda: now if (now := ports.scrape(ports.raylet))["manta_object_store_objects",] > before[OBJECTS] else None
    )
    own = _status()["store"]

    assert own["capacity_bytes"] == found["manta_object_store_bytes", "capacity"]
    assert own["sealed_bytes"] == found["manta_object_store_bytes", "sealed"]
    grown = found["manta_object_store_bytes", "sealed"] - before["manta_object_store_bytes", "sealed"]
    assert 5_000_000 <= grown < 5_010_000
    del ref
    wait_until(lambda: ports.scrape(ports.raylet)[OBJECTS] == before[OBJECTS])


OBJECTS = ("manta_object_store_objects",)


def test_memory_and_cpu_of_processes_are_what_psutil_says(ports):
    """Both read the kernel's account, at slightly different times; the raylet's memory and CPU time hardly move in between."""
    raylet = psutil.Process(_status()["pid"])

    found = ports.scrape(ports.raylet)

    assert found["manta_process_resident_bytes", "raylet"] == pytest.approx(raylet.memory_info().rss, rel=0.1)
    times = raylet.cpu_times()
    assert found["manta_process_cpu_seconds_total", "raylet"] == pytest.approx(times.user + times.system, abs=1.0)
    assert 1 == found["manta_processes", "driver"]
    assert found["manta_process_resident_bytes", "driver"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)


def test_cpu_time_that_tasks_used_is_there_after_their_worker_has_gone(ports):
    @manta.remote(max_calls=1)
    def burn():
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
        return wait_until(lambda: _seen(ports) >= 0.5)

    def _seen(ports):
        return ports.scrape(ports.raylet)["manta_process_cpu_seconds_total", "worker"]

    manta.get(burn.remote())

    assert _seen(ports) >= 0.5


def test_leases_and_worker_starts_are_timed(ports):
    @manta.remote
    def nothing():
        return 1

    before = ports.scrape(ports.raylet)
    assert 1 == manta.get(nothing.remote())
    found = ports.scrape(ports.raylet)

    assert found["manta_scheduling_seconds_count",] > before["manta_scheduling_seconds_count",]
    assert (
        found["manta_scheduler_events_total", "lease_granted"] > before["manta_scheduler_events_total", "lease_granted"]
    )
    assert found["manta_worker_start_seconds_count",] > 0
    wait_until(lambda: ports.scrape(ports.raylet)["manta_lease_seconds_count",] > before["manta_lease_seconds_count",])
    assert found["manta_channel_frames_total", "LeaseDemand"] > 0


def test_control_tells_of_its_tables_and_calls(ports):
    found = ports.scrape(ports.control)

    assert 1 == found["manta_nodes", "ALIVE"]
    assert 0 == found["manta_nodes", "DEAD"]
    assert 1 == found["manta_jobs", "RUNNING"]
    assert found["manta_grpc_calls_total", "RegisterJob"] == 1
    assert found["manta_control_events_total", "commit"] > 0
    assert found["manta_process_resident_bytes", "control"] > 0


def test_connections_that_say_nothing_are_few_and_do_not_stop_others(ports):
    """A hundred are opened; the port closes those above its bound at once, the others in seconds, and answers all the while."""
    silent = [socket.create_connection(("127.0.0.1", ports.raylet), timeout=10) for _ in range(100)]
    try:
        wait_until(lambda: _answers(ports))
        assert sum(_is_closed(one) for one in silent) >= 60
    finally:
        for one in silent:
            one.close()


def _answers(ports):
    try:
        return ports.ask(ports.raylet, "/healthz")[0] == 200
    except OSError:
        return False


def _is_closed(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_too_long_a_head_is_refused(ports):
    with socket.create_connection(("127.0.0.1", ports.raylet), timeout=10) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 3000)
        assert sock.recv(100).startswith(b"HTTP/1.1 431 ")
