"""Ray's vulnerabilities, one test each: what was possible there is refused here, and nothing of it happens."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.support.heads import cli
from tests.support.surface import filled, http_routes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

ROUTES = http_routes()
#: Signing in is for strangers, on the very site: see test_credentials.py.
OPEN = {key for key, route in ROUTES.items() if route.role is None} | {("HEAD", "/sign-in")}

#: What a page that its attacker controls makes a browser send.
FOREIGN = [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    {"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"},
]  # fmt: skip


def jobs(head) -> list[str]:
    """Ids of all jobs."""
    return [one["submission_id"] for one in json.loads(head.ask("GET", "/api/jobs/", token="viewer")[1])]


@pytest.fixture(scope="module")
def job(head):
    """A job that is over."""
    code, said = head.ask(
        "POST", "/api/jobs/", {"entrypoint": "echo hello", "submission_id": "mine"}, token="submitter"
    )
    assert code == 200, said
    wait_until(lambda: b"SUCCEEDED" in head.ask("GET", "/api/jobs/mine", token="viewer")[1], timeout_s=20)
    return "mine"


def test_cve_2023_48022_no_job_is_submitted_without_authentication(head, job, tmp_path):
    body = {"entrypoint": f"touch {tmp_path}/pwned", "submission_id": "stranger"}
    for token in (None, "", "0" * 64, head.join_token):
        assert head.ask("POST", "/api/jobs/", body, token=token)[0] == 401
    assert head.ask("POST", "/api/jobs/", body, token="viewer")[0] == 403
    assert jobs(head) == [job]
    assert not (tmp_path / "pwned").exists()


def test_cve_2023_48023_no_address_that_a_request_names_is_asked(head, job):
    with socket.create_server(("127.0.0.1", 0)) as inside:
        url = f"http://127.0.0.1:{inside.getsockname()[1]}/latest/meta-data.zip"
        for environment in ({"working_dir": url}, {"py_modules": [url]}, {"working_dir": url.replace("http", "https")}):
            body = {"entrypoint": "true", "runtime_env": environment}
            code, said = head.ask("POST", "/api/jobs/", body, token="admin")
            assert code == 400, said
            assert b"not fetched" in said
        for path in (
            f"/log_proxy?url={url}",
            f"/api/jobs/?url={url}",
            f"/proxy/{url}",
            f"/api/packages/http/{url[7:]}",
        ):
            assert head.ask("GET", path, token="admin")[0] in (200, 400, 404), path
        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.accept()
    assert jobs(head) == [job]


def test_cve_2023_6019_nothing_of_a_request_but_an_entrypoint_is_a_command(head, job, tmp_path):
    evil = f"x$(touch%20{tmp_path}/pwned);touch%20{tmp_path}/pwned"
    for path in (
        f"/worker/cpu_profile?pid=1&format={evil}", f"/worker/traceback?pid={evil}", f"/api/jobs/{evil}",
        f"/api/jobs/{evil}/logs", f"/api/packages/gcs/{evil}",
    ):  # fmt: skip
        assert head.ask("GET", path, token="admin")[0] in (400, 404), path
    code, said = head.ask(
        "POST", "/api/jobs/", {"entrypoint": "true", "submission_id": f"$(touch {tmp_path}/pwned)"}, token="admin"
    )
    assert code == 400, said
    assert not (tmp_path / "pwned").exists()


TRAVERSALS = ["../../../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
              "/etc/passwd", "%2fetc%2fpasswd", "....//....//etc/passwd", "..%5c..%5cetc%5cpasswd", "passwd%00.js"]  # fmt: skip


@pytest.mark.parametrize("traversal", TRAVERSALS)
def test_cve_2023_6020_no_file_is_served_by_its_path(head, traversal):
    for folder in ("/", "/static/", "/static/js/", "/assets/", "/pages/"):
        code, said = head.ask("GET", folder + traversal, token="admin")
        assert code in (400, 404), folder
        assert b"root:" not in said


@pytest.mark.parametrize("traversal", TRAVERSALS)
def test_cve_2023_6021_no_log_is_read_by_its_path(head, job, traversal):
    for path in (
        f"/api/jobs/{traversal}/logs", f"/api/jobs/{traversal}/logs/tail", f"/logs/{traversal}",
        f"/api/v0/logs/file?filename={traversal}", f"/api/v0/logs?glob={traversal}", f"/api/jobs/{job}/logs?filename={traversal}",
    ):  # fmt: skip
        code, said = head.ask("GET", path, token="admin")
        assert code in (200, 400, 404), path
        assert code != 200 or json.loads(said) == {"logs": "hello\n"}
        assert b"root:" not in said


def test_path_traversal_in_log_routes_gets_no_file_of_a_node_either(head, tmp_path):
    """What control carries to the nodes: a name of a file in the folder of logs, and nothing else."""
    secret = tmp_path / "secret.log"
    secret.write_text("very secret")
    link = head.session_dir / "logs" / "link.log"
    link.symlink_to(secret)
    for name in (str(secret), f"../../../../../..{secret}", "../credentials/tokens", "link.log", "..", "/etc/passwd"):
        done = cli("logs", name, "--address", f"unix:{next(head.session_dir.glob('raylet*.sock'))}")
        assert "secret" not in done.stdout, name
        assert "root:" not in done.stdout, name
        assert "admin" not in done.stdout, name
    link.unlink()


def test_cve_2025_62593_a_page_whose_name_was_rebound_to_this_address_gets_nothing(head, job):
    """Whatever browser it says to be, and although the request reaches the port from this very machine."""
    for foreign in FOREIGN:
        for agent in ("Mozilla/5.0", "curl/8", ""):
            for token in (None, "admin"):
                code, said = head.ask("GET", "/api/jobs/", token=token, headers={"User-Agent": agent, **foreign})
                assert code in (403, 421), foreign
                assert b"hello" not in said
    assert head.ask("GET", "/healthz", headers={"Host": "evil.example"})[0] == 421


METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "QUERY",
    "delete",
    "FORGOTTEN",
]


@pytest.mark.parametrize("method", METHODS)
def test_cve_2026_27482_no_method_is_forgotten(head, job, method):
    """On every path: other sites' pages are refused, strangers are, and nothing has happened."""
    # 400: what is no method at all is no request.
    refused = (401, 403, 421) if method in METHODS[:-2] else (400,)
    for path in sorted({path for _, path in ROUTES} | {"/", "/nothing"}):
        for foreign in FOREIGN:
            code, _ = head.ask(method, filled(path, job), token="admin", headers=foreign)
            assert code in refused, (path, foreign)
        if (method, path) not in OPEN:
            assert head.ask(method, filled(path, job))[0] in refused, path
    assert jobs(head) == [job]
    assert Path(head.session_dir / "logs" / f"job-driver-{job}.log").read_text() == "hello\n"
