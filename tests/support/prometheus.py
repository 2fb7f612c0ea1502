"""A real Prometheus for a test: what it scrapes, and what it is asked. Debian and Ubuntu: `apt install prometheus`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ports import free_port


@dataclass(frozen=True, slots=True)
class Target:
    """What is scraped.

    Attributes:
        address: "host:port".
        job: The value of its label `job`.
        token_file: With which it is asked; None for without.
        labels: Further labels of all its series.
        more: Of Prometheus' own scrape_config, such as metric_relabel_configs.
    """

    address: str
    job: str
    token_file: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


class Prometheus:
    """A running one."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **parameters: str) -> Any:
        """The data of one answer."""
        url = f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def series(self, query: str) -> list[dict[str, Any]]:
        """The series of a query: each with `metric`, its labels, and `value`, a time and a text."""
        found: list[dict[str, Any]] = self.get("query", query=query)["result"]
        return found

    def values(self, query: str) -> list[float]:
        """The values of a query's series."""
        return [float(one["value"][1]) for one in self.series(query)]

    def value(self, query: str) -> float | None:
        """The value of a query with one series; None while there is none."""
        values = self.values(query)
        return values[0] if len(values) == 1 else None

    def up(self) -> int:
        """How many targets answered when they were asked last; 0 too while it starts."""
        try:
            return int(sum(self.values("up")))
        except OSError:
            return 0


@contextlib.contextmanager
def prometheus(folder: Path, targets: Sequence[Target]) -> Iterator[Prometheus]:
    """One that scrapes each second, for a block."""
    scrapes = [
        {
            "job_name": f"{number}-{target.job}",
            **target.more,
            **({"authorization": {"credentials_file": str(target.token_file)}} if target.token_file else {}),
            "static_configs": [{"targets": [target.address], "labels": {"job": target.job, **target.labels}}],
        }
        for number, target in enumerate(targets)
    ]
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": scrapes}
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    command = [
        "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
