"""Where an embedded cluster's dashboard may listen, and what its user is told."""

from __future__ import annotations

import sys

import pytest

from manta.api import page
from manta.core.errors import SettingError
from manta.core.options.init import init_options


def wanted(**arguments):
    return page.wanted(init_options(arguments))


def test_none_is_started_unless_it_is_asked_for():
    assert wanted() is None
    assert wanted(include_dashboard=False) is None
    assert wanted(dashboard_host="0.0.0.0", dashboard_port=1) is None


def test_the_usual_port_gives_way_and_one_that_was_given_does_not():
    assert wanted(include_dashboard=True) == ("127.0.0.1:8265", True)
    assert wanted(include_dashboard=True, dashboard_port=8265) == ("127.0.0.1:8265", False)
    assert wanted(include_dashboard=True, dashboard_host="localhost", dashboard_port=0) == ("127.0.0.1:0", False)
    assert wanted(include_dashboard=True, dashboard_host="::1") == ("[::1]:8265", True)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.org", "::", "127.0.0.1:80", "127.1"])
def test_others_machines_are_not_let_in_without_tls(host):
    with pytest.raises(SettingError, match=r"dashboard_host=.*loopback.*manta start --head"):
        wanted(include_dashboard=True, dashboard_host=host)


def test_what_the_server_complains_of_is_said_in_inits_words():
    taken = page.refused(
        SettingError("bind", "127.0.0.1:80", "an address of this machine and a port on which nobody listens")
    )
    assert str(taken) == "dashboard_port='80': expected a port of 127.0.0.1 on which nobody else listens, or 0 for any"
    assert page.refused(SettingError("bind", "127.0.0.9:80", "an address of loopback")).name == "dashboard_host"


def test_a_link_is_shown_to_a_terminal_and_kept_out_of_logs(monkeypatch):
    assert "ticket" not in page.sign_in_hint("http://h:1", "a" * 64)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = page.sign_in_hint("http://h:1", "a" * 64)
    assert "http://h:1/sign-in?ticket=" in shown
    assert "a" * 64 not in shown
