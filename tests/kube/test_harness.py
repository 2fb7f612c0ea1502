"""The control plane that tests run against is a real one, reached from outside, alone in its namespaces, and gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kube.conftest import need_control_plane
from tests.kube.harness import build
from tests.kube.harness.client import Api
from tests.kube.harness.control_plane import ROOT, control_plane
from tests.support.waiting import wait_until

POD = {
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}


def processes_of(folder: Path) -> list[str]:
    """Commands of processes that name the folder."""
    commands = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in command:
                commands.append(command)
    return commands


def test_it_is_the_version_that_was_built(api):
    """Reached from outside of its network."""
    assert api.get("/version").body["gitVersion"] == f"v{build.version()}"


def test_the_scheduler_says_why_a_pod_has_no_node(api, namespace):
    """There are none; a real scheduler says so in the pod's status."""
    assert api.create(f"/api/v1/namespaces/{namespace}/pods", POD).ok

    def said():
        status = api.get(f"/api/v1/namespaces/{namespace}/pods/p").body["status"]
        return [one["reason"] for one in status.get("conditions", []) if one["type"] == "PodScheduled"]

    assert wait_until(said, timeout_s=30.0, what="the scheduler has looked at it") == ["Unschedulable"]


def test_the_controllers_delete_what_has_no_owner_any_more(api, namespace):
    """Owner references are what the operator's own cleaning up rests on."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = api.create(path, {"metadata": {"name": "owner"}}).body["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
    assert api.create(path, {"metadata": {"name": "owned", "ownerReferences": [reference]}}).ok
    assert api.delete(f"{path}/owner").ok
    wait_until(lambda: api.get(f"{path}/owned").status == 404, timeout_s=45.0, what="what it owned is gone")


def test_who_asked_what_is_known(kube, api, namespace):
    """The audit log has each request with its user, verb and outcome."""
    with Api(kube.kubeconfig_of("somebody")) as somebody:
        assert somebody.create(f"/api/v1/namespaces/{namespace}/pods", POD).status == 403
    calls = wait_until(lambda: [call for call in kube.audit() if call.user == "somebody"], what="the log has it")
    assert [(call.verb, call.resource, call.namespace, call.code, call.writes) for call in calls] == [
        ("create", "pods", namespace, 403, True)
    ]


@pytest.mark.timeout(240)
def test_another_one_lives_beside_it_can_lose_its_server_and_leaves_nothing(api, namespace, tmp_path):
    """Two runs never meet: each has its own processes, network and mounts, and takes them along."""
    folder = tmp_path / "second"
    with control_plane(folder) as second, Api(second.kubeconfig) as other:
        assert other.get(f"/api/v1/namespaces/{namespace}").status == 404
        assert api.get(f"/api/v1/namespaces/{namespace}").ok

        second.stop("apiserver")
        with pytest.raises(OSError, match=r".*"):
            other.get("/version")
        second.start("apiserver")
        assert other.get("/api/v1/namespaces/default").ok
        assert processes_of(folder)

    assert processes_of(folder) == []
    assert str(folder) not in Path("/proc/mounts").read_text()


@pytest.mark.timeout(240)
def test_it_ends_with_whoever_started_it(tmp_path):
    """Even with one that was killed and could do nothing any more."""
    need_control_plane()
    folder = tmp_path / "third"
    command = [sys.executable, "-m", "tests.kube.harness", "up", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline().startswith("export KUBECONFIG=")
        assert processes_of(folder)
        os.kill(starter.pid, signal.SIGKILL)
    wait_until(lambda: processes_of(folder) == [], timeout_s=30.0, what="all of it has ended")
