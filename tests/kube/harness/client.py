"""A small synchronous client for tests. The operator's own is what is tested, so tests do not look through it."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

TIMEOUT_S = 60.0
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said.

    Attributes:
        status: The HTTP status.
        body: The object, or the Status that says what went wrong.
    """

    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it did what was asked."""
        return self.status < 300

    @property
    def message(self) -> str:
        """What a person is told."""
        return str(self.body.get("message", ""))


class Api:
    """One connection of one user; for one thread.

    Args:
        kubeconfig: As `ControlPlane` writes them.
    """

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as both:  # one file may hold certificate and key
            both.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            both.flush()
            context.load_cert_chain(both.name)
        address = urllib.parse.urlsplit(cluster["server"])
        assert address.hostname is not None
        self._connection = http.client.HTTPSConnection(
            address.hostname, address.port, context=context, timeout=TIMEOUT_S
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        **query: str,
    ) -> Answer:
        """One request; its answer, whatever its status."""
        where = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        headers = {"Accept": accept, "User-Agent": "manta-tests"}
        if body is not None:
            headers["Content-Type"] = content_type
        sent = None if body is None else json.dumps(body)
        try:
            try:
                answer, content = self._ask(method, where, sent, headers)
            except (http.client.RemoteDisconnected, BrokenPipeError, ssl.SSLEOFError):
                # The server ends connections that nobody used for a while; what it never read may be said again.
                self._connection.close()
                answer, content = self._ask(method, where, sent, headers)
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens another
            raise
        try:
            said = json.loads(content)
        except ValueError:
            said = {"message": content.decode(errors="replace")}
        return Answer(answer.status, said if isinstance(said, dict) else {"message": str(said)})

    def _ask(
        self, method: str, where: str, body: str | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        self._connection.request(method, where, body, headers)
        answer = self._connection.getresponse()
        return answer, answer.read()

    def watch(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Events of a watch until the server ends it, which `timeoutSeconds` bounds; nothing else can be asked meanwhile."""
        where = f"{path}?{urllib.parse.urlencode({**query, 'watch': 'true'})}"
        try:
            self._connection.request("GET", where, None, {"Accept": "application/json", "User-Agent": "manta-tests"})
            answer = self._connection.getresponse()
            for line in answer:
                yield json.loads(line)
        finally:
            self._connection.close()

    def get(self, path: str, **query: str) -> Answer:
        """Read."""
        return self.call("GET", path, **query)

    def create(self, path: str, body: Any, **query: str) -> Answer:
        """POST."""
        return self.call("POST", path, body, **query)

    def replace(self, path: str, body: Any, **query: str) -> Answer:
        """PUT."""
        return self.call("PUT", path, body, **query)

    def delete(self, path: str, **query: str) -> Answer:
        """DELETE."""
        return self.call("DELETE", path, **query)

    def apply(self, path: str, body: Any, *, manager: str = "tests", force: bool = True) -> Answer:
        """Server-side apply."""
        return self.call(
            "PATCH", path, body, content_type=APPLY, fieldManager=manager, force="true" if force else "false"
        )
