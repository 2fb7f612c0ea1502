"""What doors are told about tokens and TLS is never left open by mistake."""

from __future__ import annotations

import pytest

from manta.dashboard.__main__ import parse as dashboard
from manta.gateway.__main__ import parse as gateway

SECURE = ["--certificate", "a.crt", "--key", "a.key"]
TOKENS = ["--tokens", "tokens"]
GATEWAY = ["--raylet", "/raylet.sock", "--logs", "/logs"]
DASHBOARD = ["--control", "unix:/control.sock", "--session-dir", "/session"]


@pytest.mark.parametrize(
    ("flags", "right"),
    [
        ([*SECURE, *TOKENS], True),
        (["--plain", "--no-auth"], True),
        ([*SECURE], False),
        ([*TOKENS], False),
        ([*SECURE, "--plain", *TOKENS], False),
        ([*SECURE, *TOKENS, "--no-auth"], False),
        (["--certificate", "a.crt", *TOKENS], False),
        (["--key", "a.key", "--plain", *TOKENS], False),
    ],
)
def test_a_gateway_is_secure_or_told_in_so_many_words_that_it_is_not(flags, right, capsys):
    if right:
        config, *_ = gateway([*GATEWAY, *flags])
        assert (config.certificate is None, config.tokens is None) == ("--plain" in flags, "--no-auth" in flags)
        return
    with pytest.raises(SystemExit):
        gateway([*GATEWAY, *flags])
    assert "either" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "right"),
    [
        ([*SECURE, *TOKENS], True),
        ([*TOKENS], True),  # on loopback
        (["--plain", "--no-auth"], True),
        ([*TOKENS, "--no-auth"], True),  # the tokens are for administrators
        ([*SECURE], False),
        ([*SECURE, "--plain", *TOKENS], False),
    ],
)
def test_so_is_a_dashboard(flags, right):
    if right:
        config, *_ = dashboard([*DASHBOARD, *flags])
        assert config.open_to_all == ("--no-auth" in flags)
        return
    with pytest.raises(SystemExit):
        dashboard([*DASHBOARD, *flags])
