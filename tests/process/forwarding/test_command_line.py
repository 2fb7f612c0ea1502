"""`--address k8s://NAMESPACE/NAME` for the commands that reach a cluster by its dashboard or its gateway."""

from __future__ import annotations

import datetime
import gc
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from manta.api import embedded
from manta.core import errors
from manta.job_submission import JobStatus, JobSubmissionClient
from manta.transport.auth import new_token, write_private
from manta.transport.certificates import KeyPair, Role, make_leaf, write_pair
from tests.process.forwarding.conftest import ADDRESS
from tests.support import dashboard, gateway, kube_api
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


@pytest.fixture(scope="module")
def page(module_sandbox):
    """A dashboard and a gateway to a cluster of one node, with the certificates and tokens that a MantaCluster's have."""
    folder = module_sandbox.path / "page"
    folder.mkdir()
    home = embedded.start(
        temp_dir=str(folder), num_cpus=2, num_gpus=0, resources={}, labels={}, object_store_bytes=100 << 20,
        memory_bytes=None, node_name=None,
    )  # fmt: skip
    try:
        embedded.record(home, b"\0" * 28)
        with gateway.running(folder, home.raylet, name=kube_api.UID) as door:
            authority = KeyPair((folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes())
            leaf = make_leaf(authority, Role.DASHBOARD, kube_api.UID, now=datetime.datetime.now(datetime.UTC))
            files = str(folder / "dashboard.pem"), str(folder / "dashboard.key")
            write_pair(leaf, *files)
            flags = ("--certificate", files[0], "--key", files[1])
            admin, tokens = new_token(), folder / "tokens"
            write_private(str(tokens), tokens.read_bytes() + f"admin {admin}\n".encode())
            shown = {"submitter": door.submitter, "admin": admin}
            running = dashboard.launch(folder, Path(home.session_dir), shown, *flags)
            try:
                yield running, door
            finally:
                dashboard.stop(running)
    finally:
        home.stop()
    shutil.rmtree(folder)


@pytest.fixture
def api(page, module_sandbox, monkeypatch):
    running, door = page
    folder = module_sandbox.path / "api"
    folder.mkdir()
    for name in ("MANTA_ADDRESS", "MANTA_API_SERVER_ADDRESS", "MANTA_TOKEN", "MANTA_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    with kube_api.running(folder, {7620: door.port, 8265: running.port}) as server:
        server.put_cluster(kube_api.available(), token=door.submitter, authority=(door.folder / "ca.pem").read_bytes())
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig()))
        yield server
    shutil.rmtree(folder)


def manta(*words):
    return subprocess.run(
        [sys.executable, "-m", "manta.cli", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_job_is_submitted_and_followed(api, tmp_path):
    (tmp_path / "train.py").write_text("print('trained')")
    flags = ["--address", ADDRESS, "--working-dir", str(tmp_path), "--submission-id", "j1"]

    done = manta("job", "submit", *flags, "--", sys.executable, "train.py")

    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
    assert manta("job", "logs", "--address", ADDRESS, "j1").stdout == "trained\n"


def test_a_job_is_listed_and_stopped(api):
    manta("job", "submit", "--address", ADDRESS, "--no-wait", "--submission-id", "j2", "--", "sleep", "100")

    listed = json.loads(manta("job", "list", "--address", ADDRESS, "-o", "json").stdout)
    assert "j2" in {one["submission_id"] for one in listed}
    assert manta("job", "stop", "--address", ADDRESS, "j2").stdout == "It will stop.\n"


def test_the_client_of_the_same_in_python(api):
    def used() -> None:
        client = JobSubmissionClient(ADDRESS)
        job = client.submit_job(entrypoint="echo hello")
        wait_until(lambda: client.get_job_status(job).is_terminal(), timeout_s=30)
        assert (client.get_job_status(job), client.get_job_logs(job)) == (JobStatus.SUCCEEDED, "hello\n")
        assert client.get_address() == ADDRESS

    used()
    gc.collect()
    wait_until(lambda: api.connections == 0, what="nobody to have the client any more")


def test_lists_come_through_the_gateway(api):
    nodes = json.loads(manta("list", "nodes", "--address", ADDRESS, "-o", "json").stdout)

    assert [node["state"] for node in nodes] == ["ALIVE"]


def test_the_status_comes_through_the_gateway(api):
    """What control knows; whoever asks is not among the jobs, and no node's own account is made up."""
    facts = json.loads(manta("status", "--address", ADDRESS, "-o", "json").stdout)

    assert [(node["state"], node["head"]) for node in facts["nodes"]] == [("ALIVE", True)]
    assert facts["resources"]["CPU"] == {"total": 2.0, "used": 0.0}
    assert (facts["address"], facts["problems"], facts["nodes"][0]["store"]) == (ADDRESS, [], None)
    assert [job for job in facts["jobs"] if job["state"] == "RUNNING"] == []
    assert facts["uptime_s"] > 0
    told = manta("status", "--address", ADDRESS)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(f"Cluster {ADDRESS}")
    assert "Workers" not in told.stdout


def test_a_drain_is_asked_of_the_dashboard_with_the_administrators_token(api, page):
    """What control refuses is said in its words; a submitter's token is not enough."""
    told = manta("drain", "nobody", "--address", ADDRESS)
    assert (told.returncode, told.stdout) == (1, "")
    assert "there is no Secret default/demo-admin" in told.stderr

    running, door = page
    authority = (door.folder / "ca.pem").read_bytes()
    api.put_cluster(kube_api.available(), token=door.submitter, admin=running.tokens["admin"], authority=authority)
    [node] = json.loads(manta("list", "nodes", "--address", ADDRESS, "-o", "json").stdout)
    told = manta("drain", node["node_id"][:12], "--address", ADDRESS)
    assert (told.returncode, told.stdout) == (1, "")
    assert "head" in told.stderr
    assert ADDRESS in told.stderr
    assert "no node has the name" in manta("drain", "nobody", "--address", ADDRESS).stderr

    api.put_cluster(kube_api.available(), token=door.submitter, admin=door.submitter, authority=authority)
    told = manta("drain", node["node_id"], "--address", ADDRESS)
    assert "a token of the role submitter may not do this; it takes admin" in told.stderr
    # Where drivers show no token an administrator does.
    given = {"token": door.submitter, "admin": running.tokens["admin"], "authority": authority}
    api.put_cluster(kube_api.available(), **given, auth={"mode": "none"})
    assert "no node has the name" in manta("drain", "nobody", "--address", ADDRESS).stderr
    assert "use k8s://NAMESPACE/NAME" in manta("drain", "x", "--address", f"manta://127.0.0.1:{door.port}").stderr


def test_commands_about_this_machine_say_what_to_use_instead(api):
    told = manta("stack", "--address", ADDRESS)

    assert told.returncode == 3
    assert f"`manta status --address {ADDRESS}`" in told.stderr
    assert "`kubectl exec demo-head -- manta stack`" in told.stderr


def test_what_goes_wrong_is_said_on_one_line(api):
    api.tokens = set()
    for words in (("job", "list"), ("list", "nodes"), ("dashboard",), ("status",), ("drain", "x")):
        told = manta(*words, "--address", ADDRESS)
        assert told.returncode in (1, 3)
        [line] = told.stderr.splitlines()
        assert line.startswith(f"manta {words[0]}")
        assert f"{ADDRESS}: the API server" in line


def test_a_dashboard_that_does_not_run_is_told_from_the_forward(api):
    del api.ports[8265]
    with pytest.raises(errors.PortForwardError, match="forwarding to port 8265 of pod demo-head failed"):
        JobSubmissionClient(ADDRESS)


def test_the_page_is_forwarded_until_it_is_interrupted(api, page):
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "manta.cli", "dashboard", "--address", ADDRESS, "--port", "0", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        told = json.loads("".join(lines))
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        jar = urllib.request.HTTPCookieProcessor()
        browser = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), jar)

        with browser.open(told["sign_in"], timeout=30) as answer:
            assert answer.status == 200
            assert b"<html" in answer.read()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130
    assert os.path.exists(page[0].folder)
