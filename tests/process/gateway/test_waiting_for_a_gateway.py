"""A driver that is started beside its cluster waits for it, where it was told to."""

from __future__ import annotations

import logging
import threading
import time

import pytest

import manta
from manta.core import errors
from tests.support import gateway
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


@pytest.fixture
def elsewhere(door, monkeypatch) -> int:
    """The port of a gateway that is still to come; what a driver of it needs is in the environment."""
    port = free_port()
    for name, text in {**door.environment, "MANTA_ADDRESS": f"manta://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, text)
    return port


def test_a_gateway_that_comes_later_is_waited_for_and_that_is_said(door, elsewhere, monkeypatch, caplog):
    monkeypatch.setenv("MANTA_CLUSTER_WAIT_S", "100")
    joined: list[str] = []
    thread = threading.Thread(target=lambda: joined.append(manta.init().address_info["address"]))
    with caplog.at_level(logging.WARNING, "manta"):
        thread.start()
        wait_until(lambda: "waiting up to 100 s for it" in caplog.text, what="it says that it waits")
        command = list(door.process.args)
        raylet = command[command.index("--raylet") + 1]
        later = gateway.launch(door.folder, raylet, door.viewer, door.submitter, "--bind", f"127.0.0.1:{elsewhere}")
        try:
            thread.join(60)
            assert joined == [f"manta://127.0.0.1:{elsewhere}"]
            assert manta.get(manta.put(1)) == 1
            manta.shutdown()
        finally:
            gateway.stop(later)
    assert caplog.text.count("waiting up to") == 1


def test_it_waits_no_longer_than_it_was_told(elsewhere, monkeypatch):
    monkeypatch.setenv("MANTA_CLUSTER_WAIT_S", "1")
    began = time.monotonic()
    with pytest.raises(errors.ClusterNotFoundError, match="no gateway listens there"):
        manta.init()
    assert time.monotonic() - began >= 1


def test_who_was_told_nothing_hears_at_once(elsewhere, caplog):
    with pytest.raises(errors.ClusterNotFoundError, match="no gateway listens there"):
        manta.init()
    assert "waiting" not in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("MANTA_TOKEN", "0" * 64, errors.AuthenticationError),
        ("MANTA_ADDRESS", "manta://a/b", errors.ClusterNotFoundError),
        ("MANTA_CLUSTER_WAIT_S", "soon", errors.SettingError),
    ],
)
def test_what_no_time_puts_right_is_said_at_once(door, elsewhere, monkeypatch, caplog, name, value, error):
    monkeypatch.setenv("MANTA_ADDRESS", door.address)
    monkeypatch.setenv("MANTA_CLUSTER_WAIT_S", "1000")
    monkeypatch.setenv(name, value)
    with pytest.raises(error):
        manta.init()
    assert "waiting" not in caplog.text
