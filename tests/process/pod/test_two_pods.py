"""A head pod of four containers, which see no process of each other's, and a worker pod."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from manta.transport.auth import new_token
from tests.process.pod import programs
from tests.support import pods
from tests.support.pods import wait_until

pytestmark = [pytest.mark.shared_cluster, pytest.mark.timeout(300)]


def run(cluster, code, **more):
    done = subprocess.run(cluster.driver(code, **more), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def toured(cluster):
    """A driver outside has done everything on both nodes."""
    said = run(cluster, programs.TOUR)
    nodes = said["nodes"]
    assert set(nodes) == {"demo-head", "demo-cpu-0"}
    assert said["far"] == [nodes["demo-cpu-0"], 8 << 20]
    assert said["near"][1] == 8 << 20
    assert (said["back"], said["counts"]) == (5 << 20, [[1, 2, 3], [1, 2, 3]])


def number_of(container, name, token=""):
    """A metric's value."""
    status, text = container.ask("/metrics", token)
    assert status == 200, text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


@contextlib.contextmanager
def holding(cluster):
    """A driver outside that holds an actor on each node and a value, for the block."""
    process = subprocess.Popen(cluster.driver(programs.HOLDING), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "holding\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def at_rest(cluster):
    """Nobody holds anything on either node."""
    token = cluster.token("viewer")
    for pod in (cluster.head, cluster.worker):
        raylet = pod.containers["raylet"]
        wait_until(
            lambda raylet=raylet: (
                number_of(raylet, "manta_leases", token) == 0.0
                and number_of(raylet, 'manta_channel_connections{role="driver"}', token) == 0.0
            ),
            what=f"{pod.name} to be at rest",
        )


def test_a_driver_outside_runs_tasks_actors_and_large_values_on_both_nodes(cluster):
    toured(cluster)
    at_rest(cluster)


def test_nodes_are_known_by_their_pods(cluster):
    code = "import json, manta; manta.init(); print(json.dumps([node['Labels'] for node in manta.nodes() if node['Alive']]))"
    wanted = {
        (f"uid-of-{name}", name, group) for name, group in (("demo-head", "head"), ("demo-cpu-0", "cpu"))
    }  # fmt: skip
    assert wanted == {
        tuple(labels[f"manta.compute/{key}"] for key in ("pod-uid", "pod-name", "group"))
        for labels in run(cluster, code)
    }


def test_what_a_driver_outside_held_is_free_when_its_session_process_is_killed(cluster):
    """That process is in the gateway's container: the raylet sees its end and looks for no process by its number."""
    with holding(cluster) as driver:
        gateway = cluster.head.containers["gateway"].server()

        def sessions():
            return [pid for pid in pods.children(gateway) if "manta.gateway.owner" in pods.words_of(pid)]

        # That of the driver before may be about to end.
        wait_until(lambda: len(sessions()) == 1, what="one session to be left")
        (session,) = sessions()
        inside = int(re.search(r"^NSpid:.*\t(\d+)$", Path(f"/proc/{session}/status").read_text(), re.MULTILINE)[1])
        assert inside != session
        os.kill(session, signal.SIGKILL)
        at_rest(cluster)
        assert driver.wait(60) != 0
    toured(cluster)


def test_metrics_want_a_token_and_health_does_not(cluster):
    for container in cluster.containers():
        assert container.ask("/healthz") == (200, "ok\n")
        assert container.ask("/metrics")[0] == 401
        assert container.ask("/metrics", new_token())[0] == 401
        assert container.ask("/metrics", cluster.token("viewer"))[0] == 200


def test_a_job_runs_in_the_raylet_s_container_and_is_a_driver_there(cluster):
    """Its memory counts there, not where the dashboard's keys are."""
    code = "import os, manta; manta.init(); print(os.readlink('/proc/self/ns/pid'), manta.get(manta.put(7)))"
    status, said = cluster.rest("POST", "/api/jobs/", {"entrypoint": f'python -c "{code}"', "submission_id": "where"})
    assert status == 200, said
    job = finished(cluster, "where")
    log = cluster.rest("GET", "/api/jobs/where/logs")[1]["logs"]
    assert job["status"] == "SUCCEEDED", (job, log)
    raylet = cluster.head.containers["raylet"]
    assert os.readlink(f"/proc/{raylet.server()}/ns/pid") in log
    assert os.readlink(f"/proc/{raylet.server()}/ns/pid") != os.readlink("/proc/self/ns/pid")
    assert "7" in log.split()
    at_rest(cluster)


def finished(cluster, job_id):
    def look():
        status, said = cluster.rest("GET", f"/api/jobs/{job_id}")
        return status == 200 and said["status"] in ("SUCCEEDED", "FAILED", "STOPPED") and said

    return wait_until(look, what=f"job {job_id} to end")


def begun(cluster, job_id, entrypoint):
    status, said = cluster.rest("POST", "/api/jobs/", {"entrypoint": entrypoint, "submission_id": job_id})
    assert status == 200, said
    wait_until(
        lambda: cluster.rest("GET", f"/api/jobs/{job_id}")[1]["status"] == "RUNNING",
        what="the job to run",
    )


def sleepers(cluster, mark):
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in pods.words_of(pid)]


def test_a_job_is_stopped_from_the_other_container(cluster):
    begun(cluster, "stopped", "sleep 4711.1")
    wait_until(lambda: sleepers(cluster, "4711.1"), what="its process")
    assert cluster.rest("POST", "/api/jobs/stopped/stop")[1] == {"stopped": True}
    assert finished(cluster, "stopped")["status"] == "STOPPED"
    wait_until(lambda: not sleepers(cluster, "4711.1"), what="its process to be gone")


def test_a_job_whose_supervisor_is_killed_has_failed_and_leaves_nothing(cluster):
    begun(cluster, "orphaned", "sleep 4711.2")
    raylet = cluster.head.containers["raylet"]
    wait_until(lambda: sleepers(cluster, "4711.2"), what="its process")
    (supervisor,) = [pid for pid in pods.children(raylet.first) if pods.words_of(pid)[-3:-1] == ["--id", "orphaned"]]
    os.kill(supervisor, signal.SIGKILL)
    job = finished(cluster, "orphaned")
    assert (job["status"], "supervisor died" in job["message"]) == ("FAILED", True)
    wait_until(lambda: not sleepers(cluster, "4711.2"), what="its process to be gone")


def test_who_starts_jobs_starts_nothing_else(cluster):
    """Its socket takes ids of jobs; garbage ends its own connection and nothing more."""
    first = cluster.head.containers["raylet"].first
    path = str(cluster.head.session / "jobs.sock")
    for garbage in (b"\n", b"{\n", b"[" * 4000 + b"\n", b"x" * 10_000, b"\xff\n"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(path)
            with contextlib.suppress(ConnectionError):
                sock.sendall(garbage)
            with contextlib.suppress(ConnectionError), sock.makefile("rb") as lines:
                assert json.loads(lines.readline()) == {"running": []}
                assert lines.readline() == b""
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as lines:
        sock.settimeout(10)
        sock.connect(path)
        assert json.loads(lines.readline()) == {"running": []}
        for harmless in ({"start": 1}, {"stop": "unknown"}, {"kill": {"group": 1}}, {}, 7, "start"):
            sock.sendall(json.dumps(harmless).encode() + b"\n")
        for wrong in ("../x", "--id", "a b", ""):
            sock.sendall(json.dumps({"start": wrong}).encode() + b"\n")
            assert json.loads(lines.readline())["failed"] == wrong
        # One that control does not know: its supervisor has nothing to do.
        sock.sendall(b'{"start": "unknown"}\n')
        assert json.loads(lines.readline()) == {"started": "unknown"}
        assert json.loads(lines.readline()) == {"ended": "unknown"}
    assert cluster.head.containers["raylet"].first == first


def test_a_dashboard_that_is_started_again_finds_the_jobs_that_run(cluster):
    begun(cluster, "kept", "sleep 4711.3")
    dashboard = cluster.head.containers["dashboard"]
    dashboard.kill()
    dashboard.start()
    wait_until(dashboard.ready, what="the dashboard to be ready")
    assert cluster.rest("GET", "/api/jobs/kept")[1]["status"] == "RUNNING"
    assert cluster.rest("POST", "/api/jobs/kept/stop")[1] == {"stopped": True}
    assert finished(cluster, "kept")["status"] == "STOPPED"


def test_tools_in_the_raylet_s_container_find_the_cluster(cluster):
    """`kubectl exec ... -- manta status`, and nothing else: the container's own variables say where to look."""
    for pod in (cluster.head, cluster.worker):
        raylet = pod.containers["raylet"]
        for words in (("list", "nodes", "-o", "json"), ("status", "-o", "json"), ("stack", "-o", "json")):
            done = raylet.exec(sys.executable, "-m", "manta.cli", *words)
            assert done.returncode == 0, done.stderr
            if words[0] != "stack":
                assert {"demo-head", "demo-cpu-0"} <= set(re.findall(r"demo-[a-z0-9-]+", done.stdout))


def test_control_that_is_started_again_takes_nothing_from_what_runs(cluster):
    """Its container alone dies: nodes register again, the very same ones, and drivers notice nothing."""
    with holding(cluster) as driver:
        before = ids(cluster)
        control = cluster.head.containers["control"]
        control.kill()
        for container in cluster.containers():
            if container is not control:
                wait_until(lambda container=container: not container.ready(), what=f"{container.role} to miss control")
        assert cluster.worker.containers["raylet"].ask("/healthz")[0] == 200
        control.start()
        cluster.wait_ready()
        assert [driver.stdout.readline() for _ in range(3)] == ["1\n"] * 3
        assert driver.poll() is None
    assert ids(cluster) == before
    toured(cluster)


def ids(cluster):
    code = (
        "import json, manta; manta.init()\n"
        "print(json.dumps(sorted(node['NodeID'] for node in manta.nodes() if node['Alive'])))"
    )
    return run(cluster, code)


def test_a_raylet_that_is_started_again_on_the_head_is_found_by_the_others(cluster):
    """As another node; the sockets of the one before are gone, and no door had to be told."""
    raylet = cluster.head.containers["raylet"]
    before = set(ids(cluster))
    left = {path.name for path in cluster.head.session.glob("raylet-*.sock")}
    raylet.kill()
    raylet.start()
    cluster.wait_ready()
    assert not left & {path.name for path in cluster.head.session.glob("raylet-*.sock")}
    toured(cluster)
    assert len(before & set(ids(cluster))) == 1


def test_the_worker_s_container_is_started_again(cluster):
    raylet = cluster.worker.containers["raylet"]
    raylet.kill()
    raylet.start()
    cluster.wait_ready()
    toured(cluster)


def test_tokens_that_are_swapped_reach_every_server_without_a_restart(cluster):
    """A Secret is replaced by the kubelet; each container takes the new one and refuses what was taken out of it."""
    firsts = {container: container.first for container in cluster.containers()}
    old = {role: cluster.token(role) for role in ("viewer", "submitter", "admin")}
    lines = "".join(f"{role} {new_token()}\n" for role in old)
    pods.private_file(cluster.made / "tokens", lines)
    cluster.publish()

    for container in cluster.containers():
        wait_until(
            lambda container=container: container.ask("/metrics", old["viewer"])[0] == 401,
            what=f"{container.role} to refuse the old token",
        )
        assert container.ask("/metrics", cluster.token("viewer"))[0] == 200
    wait_until(lambda: cluster.rest("GET", "/api/jobs/")[0] == 200, what="the dashboard to take the new token")
    toured(cluster)
    with pytest.raises(AssertionError, match="token"):
        run(cluster, programs.TOUR, MANTA_TOKEN=old["submitter"])
    assert {container: container.first for container in cluster.containers()} == firsts
