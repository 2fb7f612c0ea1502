"""`JobSubmissionClient`: submits jobs and looks at them, by HTTP, with Ray's methods. Standard library only."""

from __future__ import annotations

import asyncio
import enum
import hashlib
import json
import logging
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final

from manta.client import archives
from manta.core.environment import env
from manta.core.options.environments import check_folders

log = logging.getLogger("manta")

_TIMEOUT_S: Final = 60.0
#: How an upload's name begins.
_UPLOADED: Final = "gcs://"
_PAUSE_S: Final = 0.5


class JobStatus(str, enum.Enum):  # noqa: UP042 - Ray's is both, and its text is its value
    """How far a submitted job is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    def __str__(self) -> str:
        return self.value

    def is_terminal(self) -> bool:
        """Whether it stays as it is."""
        return self in (JobStatus.STOPPED, JobStatus.SUCCEEDED, JobStatus.FAILED)


class JobDetails(SimpleNamespace):
    """A job's fields, as Ray's JobDetails has them."""


class JobSubmissionClient:
    """Speaks to a head's HTTP server.

    Args:
        address: "https://HOST:8265"; by default what MANTA_API_SERVER_ADDRESS or RAY_API_SERVER_ADDRESS says. Or
            "k8s://NAMESPACE/NAME", a MantaCluster, which is reached through its Kubernetes API server by the kubeconfig, with the
            token and the authority of its Secret NAME-submitter.
        create_cluster_if_needed: For Ray's callers; a cluster is never made.
        cookies: Not used.
        metadata: Added to every job's.
        headers: Sent with every request. Without an Authorization among them MANTA_TOKEN's or MANTA_TOKEN_FILE's token is shown.
        verify: Whether to check the server's certificate, or a file with the authority; by default that of MANTA_CA_FILE.

    Raises:
        ConnectionError: Nobody is there.
        RuntimeError: The server refuses.
    """

    def __init__(
        self,
        address: str | None = None,
        create_cluster_if_needed: bool = False,
        cookies: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: str | bool = True,
    ) -> None:
        del create_cluster_if_needed, cookies
        address = address or env("API_SERVER_ADDRESS") or "https://localhost:8265"
        self._metadata = dict(metadata or {})
        self._headers = dict(headers or {})
        self._shown = address
        #: Ends the way to a cluster on Kubernetes; others have none.
        self.close: Callable[[], object] = lambda: None
        if address.startswith("k8s://"):
            self._forward(address, verify)
            return
        self._address = self._shown = (address if "://" in address else f"http://{address}").rstrip("/")
        if urllib.parse.urlsplit(self._address).scheme not in ("http", "https"):
            raise ValueError(f"the address of an HTTP server is http:// or https://HOST:PORT, not {address!r:.200}")
        if not self._shows_token and (token := _token()):
            self._headers["Authorization"] = f"Bearer {token}"
        self._context = _context(verify) if self._address.startswith("https:") else None
        self._ask("GET", "/api/version")

    @property
    def _shows_token(self) -> bool:
        return any(name.lower() == "authorization" for name in self._headers)

    def _forward(self, address: str, verify: str | bool) -> None:
        """Reach the dashboard of a cluster on Kubernetes, for as long as somebody has this client."""
        from manta.client.kube.opening import open_cluster

        authority = None
        if isinstance(verify, str):
            with open(verify, "rb") as file:
                authority = file.read()
        cluster = open_cluster(address, ca=authority, say=lambda text: log.warning("%s", text))
        self.close = weakref.finalize(self, cluster.close)
        try:
            self._address, self._context = cluster.dashboard()
            if not self._shows_token and cluster.shown.token:
                self._headers["Authorization"] = f"Bearer {cluster.shown.token}"
            self._ask("GET", "/api/version")
        except BaseException as failed:
            self.close()
            if isinstance(failed, ConnectionError) and cluster.forward.failure is not None:
                raise cluster.forward.failure from None
            raise

    def get_address(self) -> str:
        """Of the server."""
        return self._shown

    def get_version(self) -> str:
        """Of the routes."""
        return str(self._ask("GET", "/api/version")["version"])

    def submit_job(
        self,
        *,
        entrypoint: str,
        job_id: str | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        submission_id: str | None = None,
        **more: Any,
    ) -> str:
        """Start a job; its id. With the same `submission_id` and the same rest it is started once, however often it is said."""
        environment = dict(runtime_env or {})
        _check_folders(environment)
        excludes = tuple(environment.pop("excludes", None) or ())
        if environment.get("working_dir"):
            environment["working_dir"] = self._uploaded(environment["working_dir"], excludes, named=False)
        if environment.get("py_modules"):
            environment["py_modules"] = [self._uploaded(one, excludes, named=True) for one in environment["py_modules"]]
        body = {
            "entrypoint": entrypoint,
            "submission_id": submission_id or job_id,
            "runtime_env": environment,
            "metadata": {**(metadata or {}), **self._metadata},
            **{name: value for name, value in more.items() if value is not None},
        }
        return str(self._ask("POST", "/api/jobs/", json.dumps(body).encode())["submission_id"])

    def stop_job(self, job_id: str) -> bool:
        """Ask it to stop; False if it is over."""
        return bool(self._ask("POST", f"{_path(job_id)}/stop")["stopped"])

    def delete_job(self, job_id: str) -> bool:
        """Forget a job that is over; its log stays on the head."""
        return bool(self._ask("DELETE", _path(job_id))["deleted"])

    def get_job_info(self, job_id: str) -> JobDetails:
        """Everything about it."""
        return _details(self._ask("GET", _path(job_id)))

    def list_jobs(self) -> list[JobDetails]:
        """All jobs, the newest first."""
        return [_details(one) for one in self._ask("GET", "/api/jobs/")]

    def get_job_status(self, job_id: str) -> JobStatus:
        """How far it is."""
        status: JobStatus = self.get_job_info(job_id).status
        return status

    def get_job_logs(self, job_id: str) -> str:
        """What its entrypoint has printed: the last 16 MB."""
        return str(self._ask("GET", f"{_path(job_id)}/logs")["logs"])

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """What it prints, until it is over."""
        at = 0
        while True:
            over = (await asyncio.to_thread(self.get_job_status, job_id)).is_terminal()
            while (part := await asyncio.to_thread(self._ask, "GET", f"{_path(job_id)}/logs?at={at}"))["logs"]:
                yield part["logs"]
                at = part["next"]
            if over:
                return
            await asyncio.sleep(_PAUSE_S)

    def _uploaded(self, one: Any, excludes: tuple[str, ...], *, named: bool) -> str:
        path: str = one if isinstance(one, str) else one.__path__[0]
        if path.startswith(_UPLOADED):
            return path
        data = archives.read(os.path.abspath(os.path.expanduser(path)), excludes, named=named)
        name = f"_manta_pkg_{hashlib.sha256(data).hexdigest()}.zip"
        try:
            self._ask("GET", f"/api/packages/gcs/{name}")
        except RuntimeError as absent:
            if "status code 404" not in str(absent):
                raise
            self._ask("PUT", f"/api/packages/gcs/{name}", data)
        return f"gcs://{name}"

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = {**self._headers, "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - http or https, see __init__
            self._address + path, body, headers, method=method
        )
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self._context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=self._context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                text = refused.read(1 << 16).decode(errors="replace")
            raise RuntimeError(f"Request failed with status code {refused.code}: {_sentence(text)}") from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as away:
            why = getattr(away, "reason", away)
            raise ConnectionError(f"Failed to connect to the cluster at address: {self._shown} ({why}).") from away


def _check_folders(environment: Mapping[str, Any]) -> None:
    """Look at what is to be uploaded. Raises ValueError or TypeError."""
    folder, modules = environment.get("working_dir"), environment.get("py_modules")
    local = dict(environment)
    if isinstance(folder, str) and folder.startswith(_UPLOADED):
        del local["working_dir"]
    if isinstance(modules, list):
        local["py_modules"] = [one for one in modules if not (isinstance(one, str) and one.startswith(_UPLOADED))]
    if wrong := check_folders(local):
        raise ValueError(wrong)


def _details(fields: Mapping[str, Any]) -> JobDetails:
    return JobDetails(**{**fields, "status": JobStatus(fields["status"])})


def _path(job_id: str) -> str:
    return f"/api/jobs/{urllib.parse.quote(job_id, safe='')}"


def _sentence(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


def _token() -> str | None:
    path = env("TOKEN_FILE")
    if path:
        try:
            with open(path) as file:
                return file.read(1024).strip()
        except (OSError, UnicodeDecodeError) as wrong:
            raise ValueError(f"MANTA_TOKEN_FILE names {path!r:.200}, which cannot be read: {wrong}") from wrong
    return env("TOKEN") or env("AUTH_TOKEN")


def _context(verify: str | bool) -> ssl.SSLContext:
    authority = verify if isinstance(verify, str) else env("CA_FILE")
    try:
        context = ssl.create_default_context(cafile=authority or None)
    except OSError as wrong:  # ssl.SSLError is one
        where = "verify" if isinstance(verify, str) else "MANTA_CA_FILE"
        raise ValueError(
            f"{where} names {authority!r:.200}, which is no file of authorities in PEM: {wrong}"
        ) from wrong
    if verify is False:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
