"""Clients of the routes: ours, the command line, and a real Ray's; and a dashboard that is started again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from manta.job_submission import JobStatus, JobSubmissionClient
from tests.support import dashboard
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

ROOT = Path(__file__).resolve().parents[3]


def client_of(page, role="submitter"):
    return JobSubmissionClient(page.address, headers={"Authorization": f"Bearer {page.tokens.get(role, role)}"})


def manta(page, *words, role="submitter"):
    environment = os.environ | {"MANTA_TOKEN": page.tokens.get(role, role), "MANTA_API_SERVER_ADDRESS": page.address}
    return subprocess.run(
        [sys.executable, "-m", "manta.cli", "job", *words],
        env=environment, capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip


def test_our_client_uploads_follows_and_tells(page, tmp_path):
    (tmp_path / "code" / "__pycache__").mkdir(parents=True)
    (tmp_path / "code" / "train.py").write_text("import os, mod; print(mod.X, sorted(os.listdir('.')))")
    (tmp_path / "mod").mkdir()
    (tmp_path / "mod" / "__init__.py").write_text("X = 5")
    client = client_of(page)
    environment = {"working_dir": str(tmp_path / "code"), "py_modules": [str(tmp_path / "mod")]}

    job_id = client.submit_job(entrypoint="python train.py", runtime_env=environment, metadata={"a": "b"})

    async def follow():
        return "".join([text async for text in client.tail_job_logs(job_id)])

    assert asyncio.run(follow()) == "5 ['train.py']\n"
    assert client.get_job_status(job_id) is JobStatus.SUCCEEDED
    assert client.get_job_info(job_id).metadata == {"a": "b"}
    assert job_id in [one.submission_id for one in client.list_jobs()]
    assert client.delete_job(job_id)
    with pytest.raises(RuntimeError, match=r"status code 404: Job .* does not exist"):
        client.get_job_info(job_id)


def test_a_followed_log_is_never_cut_within_a_character(page):
    client = client_of(page)
    job_id = client.submit_job(entrypoint=f'{sys.executable} -c \'print("x" + "\u00e9" * 100_000)\'')

    async def follow():
        return "".join([text async for text in client.tail_job_logs(job_id)])

    assert asyncio.run(follow()) == "x" + "\u00e9" * 100_000 + "\n"


def test_wrong_tokens_and_addresses_are_told(page):
    with pytest.raises(RuntimeError, match="status code 401: the token is not this cluster's"):
        client_of(page, "0" * 64)
    with pytest.raises(RuntimeError, match="role viewer may not do this"):
        client_of(page, "viewer").submit_job(entrypoint="true")
    with pytest.raises(ConnectionError, match="Failed to connect"):
        JobSubmissionClient("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="https://HOST:PORT"):
        JobSubmissionClient("file:///etc")


def test_the_command_ends_with_the_jobs_result(page):
    good = manta(page, "submit", "--submission-id", "cli-good", "--", "echo", "a  b")
    assert (good.returncode, good.stdout) == (0, "a  b\n"), good.stderr
    bad = manta(page, "submit", "--", "exit 7")
    assert bad.returncode == 1
    assert "exit code 7" in bad.stderr
    shown = manta(page, "status", "cli-good", "-o", "json", role="viewer")
    assert json.loads(shown.stdout)["status"] == "SUCCEEDED"
    assert manta(page, "logs", "cli-good").stdout == "a  b\n"
    assert "cli-good" in manta(page, "list").stdout
    assert manta(page, "delete", "cli-good").returncode == 0
    assert manta(page, "status", "cli-good").returncode == 1
    assert manta(page, "submit").returncode == 2


def test_a_dashboard_that_was_killed_finds_running_jobs_again(page):
    client = client_of(page)
    job_id = client.submit_job(entrypoint="sleep 1000")
    wait_until(lambda: client.get_job_status(job_id) is JobStatus.RUNNING)
    page.process.kill()
    page.process.wait()
    again = dashboard.launch(page.folder, page.session_dir, page.tokens)
    page.process, page.port = again.process, again.port
    client = client_of(page)
    assert client.get_job_status(job_id) is JobStatus.RUNNING
    assert client.stop_job(job_id)
    assert wait_until(lambda: (now := client.get_job_status(job_id)).is_terminal() and now, timeout_s=20) == "STOPPED"


def test_the_command_of_a_real_ray_works(page, tmp_path):
    ray = os.environ.get("MANTA_TEST_RAY") or str(ROOT / ".venv-peers" / "bin" / "ray")
    found = shutil.which(ray)
    # Its --help works without what the command needs; asking a port where nobody listens tells.
    probe = [found, "job", "list", "--address", "http://127.0.0.1:9"]
    if not found or b"ray[default]" in subprocess.run(probe, capture_output=True, check=False).stderr:
        pytest.skip(f"no Ray with ray[default] at {ray}; MANTA_TEST_RAY names another `ray`")
    (tmp_path / "train.py").write_text("print('from ray')")
    headers = json.dumps({"Authorization": f"Bearer {page.tokens['submitter']}"})
    done = subprocess.run(
        [
            found, "job", "submit", "--address", page.address, "--headers", headers, "--working-dir", str(tmp_path),
            "--submission-id", "of-ray", "--", "python", "train.py",
        ],
        capture_output=True, text=True, timeout=50, check=False, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "from ray" in done.stdout + done.stderr
    assert "succeeded" in done.stdout + done.stderr
