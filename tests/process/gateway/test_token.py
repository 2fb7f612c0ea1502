"""What a driver shows and trusts: the arguments of init before the environment, and errors that name what was looked at."""

from __future__ import annotations

import pytest

import manta
from manta.core import errors

pytestmark = pytest.mark.shared_cluster


def test_the_arguments_win_over_the_environment(door, monkeypatch):
    monkeypatch.setenv("MANTA_TOKEN", "0" * 64)
    monkeypatch.setenv("MANTA_CA_FILE", "/nowhere")
    manta.init(door.address, token=door.submitter, ca=str(door.folder / "ca.pem"))
    assert manta.get(manta.put(7)) == 7


def test_the_environment_is_taken_without_arguments(door, monkeypatch):
    for name, text in door.environment.items():
        monkeypatch.setenv(name, text)
    manta.init(door.address)
    assert manta.is_initialized()


def test_the_environments_token_wins_over_its_file(door, monkeypatch):
    monkeypatch.setenv("MANTA_TOKEN", door.submitter)
    monkeypatch.setenv("MANTA_TOKEN_FILE", "/nowhere")
    manta.init(door.address, ca=str(door.folder / "ca.pem"))
    assert manta.is_initialized()


def test_no_token_at_all_names_every_place(door, monkeypatch):
    for name in ("MANTA_TOKEN", "MANTA_TOKEN_FILE", "RAY_TOKEN", "RAY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        errors.AuthenticationError, match=r"MANTA_TOKEN, or MANTA_TOKEN_FILE.*init\(\) was given no token"
    ):
        manta.init(door.address)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"token": "two words"}, "the argument token"), ({"token": "a" * 64, "ca": "/nowhere"}, "the argument ca")],
)
def test_a_wrong_argument_is_named(door, arguments, named):
    with pytest.raises(errors.AuthenticationError, match=named):
        manta.init(door.address, **arguments)


def test_a_token_for_what_is_no_gateway_is_refused():
    with pytest.raises(ValueError, match="is not a manta:// or k8s:// address"):
        manta.init("local", token="a" * 64)
