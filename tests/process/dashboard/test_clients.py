"""Clients of the routes: ours, the command line, and a real Ray's; and a dashboard that is started again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

from manta.job_submission import JobStatus, JobSubmissionClient
from tests.support import dashboard
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

ROOT = Path(__file__).resolve().parents[3]


def client_of(page, role="submitter"):
    return JobSubmissionClient(page.address, headers={"Authorization": f"Bearer {page.tokens.get(role, role)}"})


def manta(page, *words, role="submitter", **more):
    environment = (
        os.environ | more | {"MANTA_TOKEN": page.tokens.get(role, role), "MANTA_API_SERVER_ADDRESS": page.address}
    )
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


def test_a_log_is_followed_beyond_what_one_answer_holds(page, monkeypatch):
    """Part by part, each once, and no part ends within a character."""
    log = page.session_dir / "logs" / "job-driver-long.log"
    client = client_of(page)
    job_id = client.submit_job(entrypoint="true", submission_id="long")
    wait_until(lambda: client.get_job_status(job_id).is_terminal(), timeout_s=20)
    text = "x" + "\u00e9" * (9 << 20) + "end"
    log.write_text(text)

    async def follow():
        return [text async for text in client.tail_job_logs(job_id)]

    parts = asyncio.run(follow())
    assert "".join(parts) == text
    assert max(len(part.encode()) for part in parts) <= 1 << 20
    log.write_bytes(b"half \xc3")
    assert page.ask("GET", f"/api/jobs/{job_id}/logs?at=0")[1] == {"logs": "half ", "next": 5}
    for wrong in ("-1", "x", "", "1e3", "9" * 20, "\u0661"):
        status, said = page.ask("GET", f"/api/jobs/{job_id}/logs?at={urllib.parse.quote(wrong)}")
        assert (status, "number of bytes" in said["message"]) == (400, True), wrong


@pytest.mark.parametrize(
    ("variable", "words", "said"),
    [
        ("MANTA_TOKEN_FILE", ("list",), "MANTA_TOKEN_FILE names '/no/such'"),
        ("MANTA_CA_FILE", ("list", "--address", "https://127.0.0.1:9"), "MANTA_CA_FILE names '/no/such'"),
        (
            "NONE",
            ("submit", "--runtime-env-json", "{bad", "--", "true"),
            "--runtime-env-json is a JSON object, not '{bad'",
        ),
        (
            "NONE",
            ("submit", "--working-dir", "s3://b/x.zip", "--", "true"),
            "'s3://b/x.zip': remote packages are not built",
        ),
        (
            "NONE",
            ("submit", "--working-dir", "/no/such", "--", "true"),
            "'/no/such', which is neither a folder here",
        ),
        ("NONE", ("submit", "--runtime-env-json", '{"py_modules": "x"}', "--", "true"), "py_modules'] must be a list"),
        ("NONE", ("submit", "--metadata-json", "[]", "--", "true"), "--metadata-json is a JSON object, not '[]'"),
    ],
)
def test_what_is_wrong_with_a_setting_or_flag_is_said_by_its_name(page, variable, words, said):
    done = manta(page, *words, **{variable: "/no/such"})
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


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
    bad = manta(page, "submit", "--entrypoint-num-cpus", "1", "--entrypoint-resources", "{}", "--", "exit 7")
    assert bad.returncode == 1
    assert "exit code 7" in bad.stderr
    shown = manta(page, "status", "cli-good", "-o", "json", role="viewer")
    assert json.loads(shown.stdout)["status"] == "SUCCEEDED"
    assert manta(page, "logs", "cli-good").stdout == "a  b\n"
    assert "cli-good" in manta(page, "list").stdout
    wide = next(line for line in manta(page, "list", "-o", "wide").stdout.splitlines() if "cli-good" in line)
    assert re.search(r"SUCCEEDED  \d{4}-\d\d-\d\dT[\d:]+ .* 0 echo 'a  b'  \(Job finished", wide), wide
    assert "status: SUCCEEDED" in manta(page, "status", "cli-good", "-o", "yaml").stdout
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


def test_the_state_is_listed_as_rays_routes_do(page):
    """For a viewer, with filters; what makes no sense is refused by name."""
    status, said = page.ask("GET", "/api/v0/nodes?filter_keys=state&filter_predicates=%3D&filter_values=alive")
    assert (status, said["result"], said["data"]["result"]["total"]) == (200, True, 1)
    (node,) = said["data"]["result"]["result"]
    assert (node["state"], node["is_head_node"], node["resources_total"]["CPU"]) == ("ALIVE", True, 2)
    for kind in ("actors", "tasks", "objects", "jobs", "workers", "placement_groups"):
        status, said = page.ask("GET", f"/api/v0/{kind}?limit=1&detail=True&timeout=10")
        assert (status, type(said["data"]["result"]["result"])) == (200, list), kind
    for wrong in ("limit=x", "filter_keys=state", "filter_keys=colour&filter_predicates=%3D&filter_values=red"):
        status, said = page.ask("GET", f"/api/v0/nodes?{wrong}")
        assert (status, said["code"]) == (400, "INVALID_REQUEST"), wrong
    assert page.ask("GET", "/api/v0/secrets")[0] == 404


@pytest.fixture
def ray():
    """The command of a real Ray with all that its client needs."""
    named = os.environ.get("MANTA_TEST_RAY") or str(ROOT / ".venv-peers" / "bin" / "ray")
    found = shutil.which(named)
    # Its command works in parts without them.
    needed = "import aiohttp, requests; from ray.dashboard.modules.job.pydantic_models import JobDetails as d; exit(d is None)"
    if (
        not found
        or subprocess.run([Path(found).with_name("python"), "-c", needed], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"no Ray with ray[default] at {named}; MANTA_TEST_RAY names another `ray`")
    return found


def test_the_command_of_a_real_ray_works(page, tmp_path, ray):
    (tmp_path / "train.py").write_text("print('from ray')")
    headers = json.dumps({"Authorization": f"Bearer {page.tokens['submitter']}"})
    done = subprocess.run(
        [
            ray, "job", "submit", "--address", page.address, "--headers", headers, "--working-dir", str(tmp_path),
            "--submission-id", "of-ray", "--", "python", "train.py",
        ],
        capture_output=True, text=True, timeout=50, check=False, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "from ray" in done.stdout + done.stderr
    assert "succeeded" in done.stdout + done.stderr


#: Every method of Ray's client.
RAYS_CLIENT = """
import asyncio, json, sys
from ray.job_submission import JobStatus, JobSubmissionClient

client = JobSubmissionClient(sys.argv[1], headers=json.loads(sys.argv[2]), metadata={"of": "all"})


async def followed(job_id):
    return "".join([text async for text in client.tail_job_logs(job_id)])


environment = {"working_dir": sys.argv[3], "py_modules": [sys.argv[3] + "/mod"], "env_vars": {"A": "1"}}
one = client.submit_job(
    entrypoint="python train.py; sleep 0.3; exit 3", submission_id="ray-one", runtime_env=environment, metadata={"a": "b"},
    entrypoint_num_cpus=1,
)
assert one == "ray-one"
assert asyncio.run(followed(one)) == "1 5\\n", client.get_job_logs(one)
info = client.get_job_info(one)
assert (info.status, info.driver_exit_code, info.metadata) == (JobStatus.FAILED, 3, {"a": "b", "of": "all"}), info
assert client.get_job_logs(one) == "1 5\\n"
two = client.submit_job(entrypoint="sleep 100")
assert two in [job.submission_id for job in client.list_jobs()]
assert client.stop_job(two)
while not client.get_job_status(two).is_terminal():
    pass
assert client.get_job_status(two) == JobStatus.STOPPED
assert client.delete_job(two)
try:
    client.get_job_info(two)
except RuntimeError as gone:
    assert "does not exist" in str(gone), gone

from ray.util.state.api import StateApiClient
from ray.util.state.common import ListApiOptions, StateResource

state = StateApiClient(address=sys.argv[1], headers=json.loads(sys.argv[2]))
(node,) = state.list(StateResource.NODES, ListApiOptions(filters=[("state", "=", "ALIVE")]), raise_on_missing_output=True)
assert node.is_head_node and node.resources_total["CPU"] == 2, node
print("done")
"""


def test_the_client_of_a_real_ray_works(page, tmp_path, ray):
    (tmp_path / "mod").mkdir()
    (tmp_path / "mod" / "__init__.py").write_text("X = 5")
    (tmp_path / "train.py").write_text("import os, mod; print(os.environ['A'], mod.X)")
    headers = json.dumps({"Authorization": f"Bearer {page.tokens['submitter']}"})
    done = subprocess.run(
        [Path(ray).with_name("python"), "-c", RAYS_CLIENT, page.address, headers, str(tmp_path)],
        capture_output=True, text=True, timeout=50, check=False, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
