"""Submitted jobs, from the request to the log."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import zipfile

import pytest

from manta.cli import processes
from tests.process.semantics.support import is_running
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.shared_cluster]


def submit(page, entrypoint, **fields):
    status, answer = page.ask("POST", "/api/jobs/", {"entrypoint": entrypoint, **fields}, role="submitter")
    assert status == 200, answer
    return answer["submission_id"]


def job(page, job_id):
    status, answer = page.ask("GET", f"/api/jobs/{job_id}")
    assert status == 200, answer
    return answer


def over(page, job_id):
    return wait_until(
        lambda: found if (found := job(page, job_id))["status"] in ("SUCCEEDED", "FAILED", "STOPPED") else None,
        timeout_s=30,
    )


def log(page, job_id):
    return page.ask("GET", f"/api/jobs/{job_id}/logs")[1]["logs"]


def archive(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        for name, text in files.items():
            made.writestr(name, text)
    return data.getvalue()


def upload(page, data):
    name = f"_manta_pkg_{hashlib.sha256(data).hexdigest()}.zip"
    assert 200 == page.ask("PUT", f"/api/packages/gcs/{name}", data, role="submitter")[0]
    return f"gcs://{name}"


def test_the_drivers_exit_decides(page):
    good, bad = submit(page, "echo hello", metadata={"team": "a"}), submit(page, "echo oh >&2; exit 3")
    found = over(page, good)
    assert found["status"] == "SUCCEEDED"
    assert found["driver_exit_code"] == 0
    assert found["metadata"] == {"team": "a"}
    assert log(page, good) == "hello\n"
    found = over(page, bad)
    assert found["status"] == "FAILED"
    assert found["driver_exit_code"] == 3
    assert "exit code 3" in found["message"]
    assert log(page, bad) == "oh\n"


def test_a_job_runs_in_its_upload_and_joins_the_cluster(page):
    """Its tasks on this node run in the very folder, with what its entrypoint has written there."""
    program = (
        "import manta, helper\nopen('made', 'w').write('here')\nmanta.init()\n"
        "print(*manta.get(manta.remote(lambda: (helper.X, open('made').read())).remote()))\n"
    )
    where = upload(page, archive({"train.py": program, "helper.py": "import os\nX = os.environ['WHAT']\n"}))
    job_id = submit(
        page,
        "python train.py",
        runtime_env={"working_dir": where, "env_vars": {"WHAT": "it", "RAY_LOG_TO_DRIVER": "0"}},
    )
    found = over(page, job_id)
    assert found["status"] == "SUCCEEDED", log(page, job_id)
    assert "it here\n" in log(page, job_id)


def test_an_archive_that_leaves_its_folder_is_refused_by_name(page):
    job_id = submit(page, "true", runtime_env={"working_dir": upload(page, archive({"../evil": "x"}))})
    found = over(page, job_id)
    assert found["status"] == "FAILED"
    assert found["error_type"] == "RUNTIME_ENV_SETUP_FAILURE"
    assert "'../evil'" in found["message"]


def test_a_stopped_job_ends_with_all_its_processes(page):
    job_id = submit(page, "trap '' TERM; sleep 1000 & echo $!; wait; wait")
    wait_until(lambda: log(page, job_id).strip())
    pid = int(log(page, job_id))
    assert (200, {"stopped": True}) == page.ask("POST", f"/api/jobs/{job_id}/stop", role="submitter")
    assert over(page, job_id)["status"] == "STOPPED"
    wait_until(lambda: not is_running(pid), what="its process to end")
    assert (200, {"stopped": False}) == page.ask("POST", f"/api/jobs/{job_id}/stop", role="submitter")


def test_a_supervisor_that_dies_fails_its_job(page):
    job_id = submit(page, "sleep 1000")
    wait_until(lambda: job(page, job_id)["status"] == "RUNNING")
    (pid,) = [pid for pid in processes.mine_with("manta.jobs.supervisor") if job_id in processes.arguments(pid)]
    os.kill(pid, signal.SIGKILL)
    found = over(page, job_id)
    assert found["status"] == "FAILED"
    assert "supervisor died" in found["message"]


def test_the_same_submission_twice_is_one_job_and_another_one_is_refused(page):
    assert "once" == submit(page, "echo 1", submission_id="once") == submit(page, "echo 1", submission_id="once")
    status, answer = page.ask("POST", "/api/jobs/", {"entrypoint": "echo 2", "submission_id": "once"}, role="submitter")
    assert status == 400
    assert "already exists" in answer["message"]
    over(page, "once")
    assert log(page, "once") == "1\n"
    assert (200, {"deleted": True}) == page.ask("DELETE", "/api/jobs/once", role="submitter")
    assert 404 == page.ask("GET", "/api/jobs/once")[0]
    assert (page.session_dir / "logs" / "job-driver-once.log").read_text() == "1\n"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[", b"[]", b"[" * 100_000, {}, {"entrypoint": ""}, {"entrypoint": 3}, {"entrypoint": "a\0b"},
        {"entrypoint": "true", "submission_id": "../../etc"}, {"entrypoint": "true", "submission_id": "a\nb"},
        {"entrypoint": "true", "submission_id": "x" * 70_000}, {"entrypoint": "true", "metadata": {"a": 1}},
        {"entrypoint": "true", "runtime_env": {"working_dir": "http://169.254.169.254/"}},
        {"entrypoint": "true", "runtime_env": {"working_dir": "gcs://../x.zip"}},
        {"entrypoint": "true", "runtime_env": {"pip": ["x"]}},
        {"entrypoint": "true", "runtime_env": {"config": {"setup_timeout_seconds": 0}}},
        {"entrypoint": "true", "runtime_env": {"config": {"$(touch x)": 1}}},
        {"entrypoint": "true", "runtime_env": {"env_vars": {"a=b": "c"}}},
    ],
)  # fmt: skip
def test_malformed_requests_are_refused(page, body):
    """CVE-2023-48023 among them: a URI of somebody else's is never fetched."""
    assert 400 == page.ask("POST", "/api/jobs/", body, role="submitter")[0]


def test_a_viewer_may_look_and_not_run(page):
    assert 200 == page.ask("GET", "/api/jobs/")[0]
    assert 403 == page.ask("POST", "/api/jobs/", {"entrypoint": "true"})[0]
    assert 403 == page.ask("PUT", "/api/packages/gcs/a.zip", b"x")[0]
    assert 403 == page.ask("DELETE", "/api/jobs/once")[0]
    assert 403 == page.ask("POST", "/api/jobs/once/stop")[0]


def test_jobs_outlive_a_killed_control(page):
    """The raylet starts control again; the job never stopped, and everything acknowledged is there."""
    job_id = submit(page, "sleep 1000")
    wait_until(lambda: job(page, job_id)["status"] == "RUNNING")
    (control,) = [
        pid for pid in processes.mine_with("manta.control") if str(page.session_dir) in processes.arguments(pid)
    ]
    os.kill(control, signal.SIGKILL)
    wait_until(lambda: page.ask("GET", f"/api/jobs/{job_id}")[0] == 200, timeout_s=20)
    assert job(page, job_id)["status"] == "RUNNING"
    assert page.ask("POST", f"/api/jobs/{job_id}/stop", role="submitter")[0] == 200
    assert over(page, job_id)["status"] == "STOPPED"
