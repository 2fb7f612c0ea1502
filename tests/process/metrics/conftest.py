"""A cluster whose raylet and control have ports, and who reads them."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

import manta
from manta.transport import auth
from tests.support.ports import free_port


@dataclass(frozen=True)
class Ports:
    """Where the cluster tells, and what lets one in."""

    raylet: int
    control: int
    token: str
    token_file: str

    def ask(self, port: int, path: str, *, token: str | None = None, host: str | None = None) -> tuple[int, str]:
        """Status and body of one GET."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if host is not None:
            headers["Host"] = host
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def scrape(self, port: int) -> dict[tuple[str, ...], float]:
        """Every sample: its name and its labels' values, in the order of their names."""
        status, text = self.ask(port, "/metrics", token=self.token)
        assert status == 200, text
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """An embedded cluster with two CPUs, a store of 100 MB and a custom resource."""
    token_file = tmp_path_factory.mktemp("token") / "viewer"
    token = auth.new_token()
    auth.write_token(str(token_file), token)
    found = Ports(free_port(), free_port(), token, str(token_file))
    settings = {
        "MANTA_metrics_port": str(found.raylet),
        "MANTA_control_metrics_port": str(found.control),
        "MANTA_metrics_token_path": found.token_file,
    }
    os.environ.update(settings)
    try:
        manta.init(num_cpus=2, object_store_memory=100 << 20, resources={"disk": 3}, log_to_driver=False)
        yield found
    finally:
        manta.shutdown()
        for name in settings:
            del os.environ[name]
