"""A job whose command needs resources runs where they are, and waits until they are free."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.process.dashboard.test_jobs import job, log, over, submit
from tests.process.semantics.support import is_running
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.shared_cluster]


def test_it_holds_what_it_asked_for_and_its_output_and_exit_come_back(page):
    """The node has two CPUs: a second job that needs both waits, and says for what."""
    program = (
        "import manta, time; manta.init()\n"
        'while (free := manta.available_resources().get("CPU", 0)): time.sleep(0.05)  # what is free may lag\n'
        "print(free); raise SystemExit(3)"
    )
    command = f"{{ python -c '{program}'; echo over $?; while ! [ -e $GO ]; do sleep 0.05; done; exit 4; }}"
    environment = {"env_vars": {"GO": f"{page.folder}/go"}}
    hold = submit(page, command, entrypoint_num_cpus=2, runtime_env=environment)
    wait_until(lambda: "over" in log(page, hold), timeout_s=40)
    assert log(page, hold) == "0\nover 3\n"
    assert job(page, hold)["status"] == "RUNNING"

    second = submit(page, "echo second", entrypoint_num_cpus=2)
    wait_until(lambda: "waits for a node with 2 CPUs free" in job(page, second)["message"], timeout_s=20)
    assert job(page, second)["status"] == "PENDING"
    Path(page.folder, "go").touch()
    found = over(page, hold)
    assert (found["status"], found["driver_exit_code"]) == ("FAILED", 4)
    assert over(page, second)["status"] == "SUCCEEDED"
    assert log(page, second) == "second\n"


def test_one_that_waits_is_stopped_and_one_that_runs_leaves_nothing(page):
    waits = submit(page, "true", entrypoint_num_cpus=100)
    wait_until(lambda: "100 CPUs" in job(page, waits)["message"], timeout_s=20)
    assert page.ask("POST", f"/api/jobs/{waits}/stop", role="submitter")[0] == 200
    assert over(page, waits)["status"] == "STOPPED"

    runs = submit(page, "echo $$; exec sleep 1000", entrypoint_num_cpus=1)
    pid = int(wait_until(lambda: log(page, runs).strip(), timeout_s=40))
    os.kill(pid, 0)
    assert page.ask("POST", f"/api/jobs/{runs}/stop", role="submitter")[0] == 200
    assert over(page, runs)["status"] == "STOPPED"
    wait_until(lambda: not is_running(pid), what="its process to end")


@pytest.mark.parametrize(
    "fields",
    [
        {"entrypoint_num_cpus": "2"}, {"entrypoint_num_gpus": -1}, {"entrypoint_memory": float("1e30")},
        {"entrypoint_resources": [1]}, {"entrypoint_resources": {"CPU": 1}}, {"entrypoint_resources": {"a": True}},
        {"entrypoint_label_selector": "zone=a"}, {"entrypoint_label_selector": {"zone": 1}},
        {"entrypoint_label_selector": {"zone": "in("}}, {"entrypoint_label_selector": {"/": "a"}},
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused(page, fields):
    status, answer = page.ask("POST", "/api/jobs/", {"entrypoint": "true", **fields}, role="submitter")
    assert status == 400
    assert "entrypoint" in answer["message"]


def test_it_runs_on_a_node_with_the_labels_that_it_names(page):
    """This one has none but its own; what no node has is waited for, and said."""
    runs = submit(page, "echo here", entrypoint_label_selector={"zone": "!a"})
    assert (over(page, runs)["status"], log(page, runs)) == ("SUCCEEDED", "here\n")
    waits = submit(page, "true", entrypoint_label_selector={"zone": "in(a,b)"})
    wait_until(lambda: "waits for a node with the labels zone=in(a,b)" in job(page, waits)["message"], timeout_s=20)
    assert page.ask("POST", f"/api/jobs/{waits}/stop", role="submitter")[0] == 200
    assert over(page, waits)["status"] == "STOPPED"


@pytest.mark.timeout(150)
def test_what_is_used_and_waited_for_is_in_the_clusters_status(page):
    """Where programs made for Ray look for it."""

    def status():
        code, answer = page.ask("GET", "/api/cluster_status")
        assert (code, answer["result"]) == (200, True)
        return answer["data"]["clusterStatus"]

    wait_until(lambda: status()["loadMetricsReport"]["usage"]["CPU"] == [0.0, 2.0], timeout_s=50)
    assert status()["autoscalerReport"]["activeNodes"] == {"head": 1}
    holds = submit(page, "exec sleep 1000", entrypoint_num_cpus=1.5)
    wait_until(lambda: status()["loadMetricsReport"]["usage"]["CPU"] == [1.5, 2.0], timeout_s=50)
    waits = submit(page, "true", entrypoint_num_cpus=2)  # before that it may be the first to ask
    wait_until(lambda: status()["loadMetricsReport"]["resourceDemand"] == [[{"CPU": 2.0}, 1]], timeout_s=50)
    for one in (waits, holds):
        assert page.ask("POST", f"/api/jobs/{one}/stop", role="submitter")[0] == 200
        assert over(page, one)["status"] == "STOPPED"
