"""A head whose disk is full or read-only: what cannot be written is refused by name, nothing is left, and the rest goes on."""

from __future__ import annotations

import json

import pytest

from tests.support.disks import disk, needs_mounts
from tests.support.heads import cli
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.shared_cluster, needs_mounts]


def over(head, job_id: str) -> dict[str, object]:
    """How a job ended."""

    def ended() -> dict[str, object] | None:
        told: dict[str, object] = json.loads(head.ask("GET", f"/api/jobs/{job_id}", token="viewer")[1])
        return told if told["status"] in ("FAILED", "SUCCEEDED") else None

    found = wait_until(ended, timeout_s=20)
    assert found is not None
    return found


@pytest.mark.parametrize(("options", "words"), [("size=1m", b"No space left"), ("size=1m,ro", b"Read-only")])
def test_an_upload_that_the_disk_does_not_take_is_refused_and_leaves_nothing(head, options, words):
    folder = head.session_dir / "packages"
    with disk(folder, options):
        code, said = head.ask("PUT", "/api/packages/gcs/large.zip", bytes(3 << 20), token="submitter")
        assert code == 507, said
        assert json.loads(said)["code"] == "PACKAGES_UNWRITABLE"
        assert words in said
        assert list(folder.iterdir()) == []
        assert head.ask("GET", "/api/packages/gcs/large.zip", token="viewer")[0] == 404
    assert head.ask("PUT", "/api/packages/gcs/large.zip", bytes(3 << 20), token="submitter")[0] == 200


@pytest.mark.parametrize("options", ["size=64k,nr_inodes=1", "size=1m,ro"])
def test_a_job_whose_folder_cannot_be_made_fails_with_the_reason(head, options):
    with disk(head.session_dir / "jobs", options):
        code, said = head.ask("POST", "/api/jobs/", {"entrypoint": "true"}, token="submitter")
        assert code == 200, said
        found = over(head, json.loads(said)["submission_id"])
        assert found["status"] == "FAILED"
        assert "the job could not start" in str(found["message"])
    code, said = head.ask("POST", "/api/jobs/", {"entrypoint": "true"}, token="submitter")
    assert over(head, json.loads(said)["submission_id"])["status"] == "SUCCEEDED"


@pytest.mark.parametrize("options", ["size=16k", "size=1m,ro"])
def test_a_head_whose_memory_has_no_room_does_not_start_and_says_so(head, tmp_path, options):
    with disk(tmp_path / "state", options):
        done = cli("start", "--head", "--node-ip", "127.0.0.1", "--port", "0", "--state-dir", str(tmp_path / "state"))
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        assert any(words in done.stderr for words in ("No space left", "disk is full", "Read-only", "read-only")), (
            done.stderr
        )
