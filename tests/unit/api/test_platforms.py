"""Where there is no Linux, the first line says so and what to do."""

from __future__ import annotations

import sys

import pytest

import manta
from manta.exceptions import UnsupportedPlatformError


@pytest.mark.parametrize(("platform", "name"), [("darwin", "macOS"), ("win32", "Windows"), ("freebsd14", "freebsd14")])
@pytest.mark.parametrize(
    "call",
    [
        manta.init,
        lambda: manta.init("local", num_cpus=2),
        lambda: manta.init("auto"),
        lambda: manta.put(1),
        lambda: manta.remote(len).remote([]),
    ],
    ids=["init", "local", "auto", "put", "remote"],
)
def test_the_first_line_says_that_linux_is_needed_and_how_to_get_there(call, platform, name, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(UnsupportedPlatformError) as refused:
        call()
    assert isinstance(refused.value, RuntimeError)
    first = str(refused.value).splitlines()[0]
    assert f"needs Linux; this is {name}." in first
    assert "container" in first
    assert not manta.is_initialized()


def test_everything_but_a_cluster_works_there(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    @manta.remote(num_cpus=1)
    def f(): ...

    assert f.options(num_cpus=2)
    assert not manta.is_initialized()
    manta.shutdown()
