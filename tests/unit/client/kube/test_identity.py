"""What an exec plugin may print, and what it is asked with."""

from __future__ import annotations

import datetime
import json
import sys

import pytest

from manta.client.kube import identity
from manta.client.kube.access import Exec
from manta.client.kube.identity import Credential, is_over, printed
from manta.core.errors import KubeconfigError

V1 = "client.authentication.k8s.io/v1"


def output(version=V1, kind="ExecCredential", **status):
    return json.dumps({"apiVersion": version, "kind": kind, "status": status}).encode()


def test_a_token():
    assert printed(output(token="abc"), V1, "x") == Credential(token="abc")


def test_a_certificate_that_ends():
    made = printed(
        output(clientCertificateData="c", clientKeyData="k", expirationTimestamp="2030-01-02T03:04:05Z"), V1, "x"
    )

    assert made == Credential("", b"c", b"k", datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC))


def test_a_credential_is_over_a_little_before_its_end():
    end = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)

    assert [is_over(Credential(expires=end), end - datetime.timedelta(seconds=s)) for s in (60, 11, 9, 0, -9)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert not is_over(Credential(token="for ever"), end)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "something else than an ExecCredential"),
        (b"not json", "something else"),
        (b"[]", "something else"),
        (b'{"status": null}', "something else"),
        (output(kind="Pod", token="x"), "printed 'Pod'"),
        (output(version="client.authentication.k8s.io/v1beta1", token="x"), "v1beta1', not an ExecCredential of"),
        (output(), "neither a token nor a certificate"),
        (output(clientKeyData="k"), "half of a certificate"),
        (output(token=3), "no texts"),
        (output(token="x", expirationTimestamp="soon"), "no time as expirationTimestamp"),
    ],
)
def test_anything_else_is_refused(said, why):
    with pytest.raises(KubeconfigError, match=why):
        printed(said, V1, "the plugin")


def plugin(code, **fields):
    defaults = {"env": (), "api_version": V1, "install_hint": "", "cluster": None, "interactive": "Never"}
    return Exec(command=sys.executable, args=("-c", code), **{**defaults, **fields})


ECHO = "import json, os; print(json.dumps({'kind': 'ExecCredential', 'apiVersion': '%s', 'status': {'token': %s}}))"


def test_a_plugin_is_told_what_it_is_asked_for():
    asked = plugin(
        ECHO % (V1, "os.environ['EXTRA'] + os.environ['KUBERNETES_EXEC_INFO']"),
        env=(("EXTRA", "hello "),),
        cluster={"server": "https://s"},
    )

    token = identity.run(asked, "jane").token

    assert json.loads(token.removeprefix("hello ")) == {
        "kind": "ExecCredential",
        "apiVersion": V1,
        "spec": {"interactive": False, "cluster": {"server": "https://s"}},
    }


def test_a_plugin_that_fails_is_named_with_its_status():
    with pytest.raises(KubeconfigError, match=r"exec plugin '.*python.*' of user 'jane' failed with status 3"):
        identity.run(plugin("raise SystemExit(3)"), "jane")


def test_a_plugin_that_is_not_there_says_how_to_get_it():
    missing = Exec("no-such-plugin", (), (), V1, "brew install it\n", None, "Never")
    with pytest.raises(KubeconfigError, match="'no-such-plugin' of user 'jane' is not installed: brew install it"):
        identity.run(missing, "jane")


def test_a_plugin_that_wants_to_ask_needs_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(KubeconfigError, match="there is no terminal: log in with it first"):
        identity.run(plugin("pass", interactive="Always"), "jane")
