"""How containers and pods begin, end, and what they say when they cannot begin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.process.pod import programs
from tests.support import pods
from tests.support.pausing import go_on, pause
from tests.support.pods import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def cluster(sandbox):
    """Not started."""
    folder = sandbox.path / "pods"
    folder.mkdir()
    with pods.cluster(folder) as made:
        yield made
    folder.rmdir()


def test_a_worker_waits_for_its_head_and_a_pod_that_is_deleted_leaves_in_good_order(cluster, sandbox):
    """The worker comes first, and goes first: what runs there ends. Then the head: its control is the last."""
    cluster.start("gateway")
    worker, gateway = cluster.worker.containers["raylet"], cluster.head.containers["gateway"]
    for container in (worker, gateway):
        wait_until(lambda container=container: container.ask("/healthz")[0] == 200, what="it to live")
    assert worker.ask("/readyz") == (503, "not registered with control\n")
    assert gateway.ask("/readyz")[0] == 503
    cluster.start("control", "dashboard", "raylet", worker=False)
    cluster.wait_ready()

    word = sandbox.path / "word"
    driver = subprocess.Popen(cluster.driver(programs.UNTIL % str(word)), stdout=subprocess.PIPE, text=True)
    assert driver.stdout.readline() == "running\n"
    wait_until(
        lambda: "manta_leases 1.0" in worker.ask("/metrics", cluster.token("viewer"))[1],
        what="the task to run",
    )
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "is being drained" in worker.log(), what="the drain to begin")
    word.touch()
    assert len(driver.stdout.readline()) > 50
    assert driver.wait(60) == 0
    driver.stdout.close()
    assert worker.wait() == 0

    head = cluster.head.containers
    # The raylet takes its time; as long as it is there, so is control.
    pause(head["raylet"].server())
    cluster.head.signal(signal.SIGTERM)
    assert {head[role].wait() for role in ("gateway", "dashboard")} == {0}
    assert head["control"].process.poll() is None
    go_on(head["raylet"].server())
    assert {head[role].wait() for role in ("raylet", "control")} == {0}
    assert "it was drained" in head["raylet"].log() or "signal SIGTERM" in head["raylet"].log()
    word.unlink()


def test_the_head_s_raylet_is_drained_alone(cluster, sandbox):
    """Its container is told to end while the cluster goes on: what runs there without retries ends, then it leaves."""
    cluster.start()
    cluster.wait_ready()
    raylet, word = cluster.head.containers["raylet"], sandbox.path / "word"
    code = programs.UNTIL.replace('resources={"far": 1}', 'resources={"node:__internal_head__": 0.1}') % str(word)
    driver = subprocess.Popen(cluster.driver(code), stdout=subprocess.PIPE, text=True)
    assert driver.stdout.readline() == "running\n"
    wait_until(
        lambda: "manta_leases 1.0" in raylet.ask("/metrics", cluster.token("viewer"))[1],
        what="the task to run",
    )
    raylet.signal(signal.SIGTERM)
    wait_until(lambda: "is being drained" in raylet.log(), what="the drain to begin")
    word.touch()
    assert len(driver.stdout.readline()) > 50
    assert driver.wait(60) == 0
    driver.stdout.close()
    assert raylet.wait() == 0
    assert "it was drained" in raylet.log()
    raylet.start()
    cluster.wait_ready()
    word.unlink()


def test_a_drained_node_is_not_started_again_before_its_pod_is_taken_away(cluster):
    """Control had it drained, so nobody has told the container to end: it stays, until somebody does."""
    cluster.start()
    cluster.wait_ready()
    worker = cluster.worker.containers["raylet"]
    os.kill(worker.server(), signal.SIGTERM)  # as good as control's order: it drains, and leaves
    wait_until(lambda: "its container stays" in worker.log(), what="the raylet to have left")
    assert worker.process.poll() is None
    assert pods.children(worker.first) == []
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_container_ends_with_its_server_s_code_and_buries_orphans(cluster):
    cluster.start("control", worker=False)
    control = cluster.head.containers["control"]
    wait_until(control.ready, what="control to be ready")

    orphan = ["nsenter", "--target", str(control.first), "--pid", "--mount", "sh", "-c", "(sleep 0.05 & sleep 0.05 &)"]
    subprocess.run(orphan, check=True)
    wait_until(lambda: pods.children(control.first) == [control.server()], what="orphans to be reaped")

    os.kill(control.server(), signal.SIGKILL)
    assert control.wait() == 128 + signal.SIGKILL
    assert "control was killed by SIGKILL" in control.log()


@pytest.mark.parametrize("role", ["control", "gateway", "dashboard", "raylet"])
def test_what_is_missing_is_said_in_one_line(role, tmp_path):
    given = {
        "MANTA_POD_NAME": "demo", "MANTA_POD_UID": "0b9c", "MANTA_POD_IP": "10.0.0.7", "MANTA_CLUSTER_NAME": "demo",
        "MANTA_GROUP": "head", "MANTA_CONTROL": "127.0.0.1:7600",
    }  # fmt: skip
    places = [
        word
        for name in ("secret", "private", "run", "state", "tmp")
        for word in (f"--{name}", str(tmp_path / name))
    ]  # fmt: skip
    for wrong, said in (({"MANTA_POD_UID": ""}, "MANTA_POD_UID='': expected the pod's uid"), ({}, "The Secret at")):
        environment = {**os.environ, **given, **wrong, "PYTHONPATH": str(pods.ROOT / "runtime")}
        done = subprocess.run(
            [sys.executable, "-m", "manta.pod", role, *places],
            env=environment, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"manta.pod: {said}")


def test_pid_1_is_light():
    """It stays as long as the container: neither gRPC nor asyncio is loaded."""
    code = (
        "import sys, manta.pod.__main__, manta.pod.container, manta.api.embedded\n"
        "print(sorted({'grpc', 'asyncio', 'google.protobuf'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(pods.ROOT / "runtime")},
    )  # fmt: skip
    assert done.stdout == "[]\n"
