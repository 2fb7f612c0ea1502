"""A dashboard beside an embedded cluster, with tokens of its own, by plain HTTP on loopback."""

from __future__ import annotations

import http.client
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manta.api import embedded
from manta.core.errors import MantaError
from manta.transport import first_word
from manta.transport.auth import new_token, write_private

ROLES = ("viewer", "submitter", "admin")


@dataclass(slots=True)
class Page:
    """A running dashboard and what a client needs for it."""

    folder: Path
    session_dir: Path
    process: subprocess.Popen[bytes]
    port: int
    tokens: dict[str, str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: Any = None, *, role: str | None = "viewer", **headers: str
    ) -> tuple[int, Any]:
        """One request; its status, and its body, decoded if it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        shown = {"Authorization": f"Bearer {self.tokens.get(role, role)}"} if role else {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(
                method, path, data, shown | {name.replace("_", "-"): text for name, text in headers.items()}
            )
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text and answer.headers.get_content_subtype() == "json" else text
        finally:
            connection.close()


def launch(folder: Path, session_dir: Path, tokens: dict[str, str], *flags: str) -> Page:
    """Start a dashboard and wait until it serves."""
    mine, theirs = os.pipe()
    with open(folder / "dashboard.log", "ab") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "manta.dashboard", "--control", f"unix:{session_dir}/control.sock",
                "--session-dir", str(session_dir), "--tokens", str(folder / "tokens"), "--bind", "127.0.0.1:0",
                "--ready-fd", str(theirs), "--parent-pid", str(os.getpid()), *flags,
            ],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=embedded.child_environment(), pass_fds=(theirs,),
        )  # fmt: skip
    os.close(theirs)
    try:
        assert select.select([mine], [], [], 30)[0], "the dashboard did not get ready"
        word = os.read(mine, first_word.LONGEST_BYTES)
    finally:
        os.close(mine)
    try:
        where = first_word.understand(word)
    except (EOFError, MantaError) as wrong:
        process.kill()
        process.wait()
        raise AssertionError(f"the dashboard did not start: {(folder / 'dashboard.log').read_text()}") from wrong
    return Page(folder, session_dir, process, int(where), tokens)


def stop(page: Page) -> None:
    """End it."""
    page.process.terminate()
    try:
        page.process.wait(20)
    except subprocess.TimeoutExpired:
        page.process.kill()
        page.process.wait()
        raise


@contextmanager
def cluster(folder: Path, *flags: str) -> Iterator[Page]:
    """A cluster of one node and a dashboard to it, for the block."""
    home = embedded.start(
        temp_dir=str(folder), num_cpus=2, num_gpus=0, resources={}, labels={}, object_store_bytes=100 << 20,
        memory_bytes=None, node_name=None,
    )  # fmt: skip
    try:
        embedded.record(home, b"\0" * 28)
        tokens = {role: new_token() for role in ROLES}
        lines = "".join(f"{role} {token}\n" for role, token in tokens.items())
        write_private(str(folder / "tokens"), lines.encode())
        page = launch(folder, Path(home.session_dir), tokens, *flags)
        try:
            yield page
        finally:
            stop(page)
    finally:
        home.stop()
