"""A driver that joined by k8s:// does what any driver does, over cuts and delays and with large values."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time

import pytest

import manta
from manta.core import errors
from manta.transport.auth import new_token, write_private
from tests.process.forwarding.conftest import ADDRESS
from tests.support import connect_proxy, kube_api
from tests.support.cuts import Cutter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


@manta.remote
def double(x):
    return 2 * x


@manta.remote
class Counter:
    def __init__(self):
        self.count = 0

    def up(self):
        self.count += 1
        return self.count


@pytest.fixture
def driver(api):
    manta.init(ADDRESS)
    yield api
    manta.shutdown()
    wait_until(lambda: api.connections == 0, what="the API server to be left")


def test_a_program(driver):
    counter = Counter.remote()

    assert manta.get([double.remote(n) for n in range(200)]) == [2 * n for n in range(200)]
    assert manta.get([counter.up.remote() for _ in range(50)]) == list(range(1, 51))
    assert manta.get(double.remote(manta.put([1, 2]))) == [1, 2, 1, 2]
    with pytest.raises(TypeError):
        manta.get(double.remote({}))
    assert manta.cluster_resources()["CPU"] == 2
    assert driver.forwards() == ["demo-head"]


def test_the_context_says_how_it_joined(api):
    context = manta.init(ADDRESS)

    assert context.address_info["address"] == ADDRESS
    assert api.requests[0] == "/apis/manta.compute/v1alpha1/namespaces/default/mantaclusters/demo"


def test_the_contexts_namespace_is_taken_where_none_is_said(api):
    manta.init("k8s://demo")

    assert manta.get(double.remote(4)) == 8


def test_the_environment_names_it_as_any_address(api, monkeypatch):
    monkeypatch.setenv("MANTA_ADDRESS", ADDRESS)
    manta.init()

    assert manta.get(double.remote(4)) == 8


def test_calls_go_on_over_cuts_each_run_once_and_in_order(driver):
    counter = Counter.remote()
    assert manta.get(counter.up.remote()) == 1
    refs = []
    with Cutter(driver.cut, 0.2):
        end = time.monotonic() + 3.0
        while time.monotonic() < end or len(driver.forwards()) <= 3:
            refs += [counter.up.remote() for _ in range(50)]
            manta.get(refs[-1])

    assert manta.get(refs) == list(range(2, len(refs) + 2))
    assert len(driver.forwards()) > 3


def test_a_large_value_arrives_over_cuts_byte_by_byte(driver):
    value = bytes(range(256)) * 100_000
    with Cutter(driver.cut, 0.4):
        assert manta.get(manta.put(value)) == value


def test_a_hundred_megabytes_go_both_ways(driver):
    value = bytes(range(256)) * (100 << 12)

    assert manta.get(double.remote(value[: 50 << 20])) == value
    ref = manta.put(value)
    assert manta.get(ref) == value


def test_a_new_head_is_looked_up_anew(driver):
    assert manta.get(double.remote(1)) == 2
    driver.put_head("demo-head-again")
    driver.cut()

    assert manta.get(double.remote(2)) == 4
    assert driver.forwards() == ["demo-head", "demo-head-again"]


def test_while_there_is_no_head_calls_wait(driver):
    assert manta.get(double.remote(1)) == 2
    driver.put_head()
    driver.cut()
    before = len(driver.requests)
    refs = [double.remote(n) for n in range(20)]
    wait_until(lambda: len(driver.requests) >= before + 3, what="the driver to look for a head")
    assert manta.wait(refs, timeout=0)[0] == []
    driver.put_head("demo-head")

    assert manta.get(refs) == [2 * n for n in range(20)]


def test_an_api_server_that_is_ill_for_a_while_is_outlived(driver):
    assert manta.get(double.remote(1)) == 2
    driver.faults.broken = {"/pods": 503}
    driver.cut()
    before = len(driver.requests)
    refs = [double.remote(n) for n in range(20)]
    wait_until(lambda: len(driver.requests) >= before + 3, what="the driver to ask again")
    driver.faults.broken = None

    assert manta.get(refs) == [2 * n for n in range(20)]


def test_a_user_who_may_no_more_hears_it_and_the_session_ends(driver):
    assert manta.get(double.remote(1)) == 2
    driver.faults.forbidden = "/portforward"
    driver.cut()

    with pytest.raises(errors.RaySystemError, match=r"is lost.*forbids user 'jane'"):
        manta.get(double.remote(2))


def test_far_away(driver):
    driver.faults.latency_s = 0.03

    assert manta.get([double.remote(n) for n in range(100)]) == [2 * n for n in range(100)]
    assert manta.get(manta.put(b"x" * (2 << 20))) == b"x" * (2 << 20)


def test_a_token_from_a_file_that_changes(api, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("first\n")
    api.tokens = {"first"}
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(user={"tokenFile": str(file)})))
    manta.init(ADDRESS)
    file.write_text("second\n")
    api.tokens = {"second"}
    api.cut()

    assert manta.get(double.remote(2)) == 4


def test_a_client_certificate(api, monkeypatch):
    certificate, key = api.authority.identity("jane", "jane")
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(user=user)))
    manta.init(ADDRESS)

    assert manta.get(double.remote(2)) == 4


def test_a_plugins_token_is_made_anew_when_it_is_refused(api, tmp_path, monkeypatch):
    count = tmp_path / "count"
    code = (
        f"import json; f = open({str(count)!r}, 'a+'); f.write('x'); n = f.tell(); print(json.dumps("
        "{'kind': 'ExecCredential', 'apiVersion': 'client.authentication.k8s.io/v1', 'status': {'token': f'token{n}'}}))"
    )
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-c", code],
        "interactiveMode": "Never",
    }  # fmt: skip
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(user={"exec": plugin})))
    api.tokens = {"token1"}
    manta.init(ADDRESS)
    assert count.read_text() == "x"  # once for all requests
    api.tokens = {"token2"}
    api.cut()

    assert manta.get(double.remote(2)) == 4
    assert count.read_text() == "xx"


def test_arguments_go_before_the_secret(api, door):
    api.faults.forbidden = "/secrets"
    manta.init(ADDRESS, token=door.submitter, ca=str(door.folder / "ca.pem"))

    assert manta.get(double.remote(2)) == 4
    assert not [path for path in api.requests if "/secrets" in path]


def test_who_may_not_read_the_secret_may_have_its_content_in_the_environment(api, door, monkeypatch):
    api.faults.forbidden = "/secrets"
    monkeypatch.setenv("MANTA_TOKEN", door.submitter)
    monkeypatch.setenv("MANTA_CA_FILE", str(door.folder / "ca.pem"))
    manta.init(ADDRESS)

    assert manta.get(double.remote(2)) == 4


def test_by_a_proxy(api, monkeypatch):
    with connect_proxy.running("jane", "p@ss") as proxy:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(proxy_url=f"http://jane:p%40ss@127.0.0.1:{proxy.port}")))
        manta.init(ADDRESS)
        assert manta.get(double.remote(2)) == 4
        manta.shutdown()

        assert set(proxy.asked) == {api.url.removeprefix("https://")}
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(proxy_url=f"http://jane:wrong@127.0.0.1:{proxy.port}")))
        with pytest.raises(errors.KubernetesUnreachableError, match=r"cannot reach the API server .*407"):
            manta.init(ADDRESS)


def test_a_cluster_that_is_not_ready_yet_is_waited_for(api, caplog):
    path = "/apis/manta.compute/v1alpha1/namespaces/default/mantaclusters/demo"
    status = api.objects[path]["status"]
    status["conditions"] = [kube_api.condition("Available", "False", "HeadPending", "no node fits")]

    def be_ready() -> None:
        wait_until(lambda: api.requests.count(path) >= 2)
        status["conditions"] = kube_api.available()

    thread = threading.Thread(target=be_ready)
    thread.start()
    logging.getLogger("manta").propagate = True
    manta.init(ADDRESS, configure_logging=False)
    thread.join()

    assert manta.get(double.remote(2)) == 4
    waited = [record.message for record in caplog.records if "waiting" in record.message]
    assert waited == ["MantaCluster default/demo takes no drivers yet: HeadPending: no node fits; waiting for it"]


@pytest.mark.parametrize("missing", ["gateway", "head"])
def test_a_gateway_that_is_being_started_again_is_waited_for(api, caplog, missing):
    """The cluster takes drivers by what it says of itself, which is older."""
    ports = dict(api.ports)
    if missing == "gateway":
        api.ports.clear()
    else:
        api.put_head()

    def be_back() -> None:
        wait_until(lambda: len([path for path in api.requests if "/pods?" in path]) >= 2, what="a second try")
        api.ports.update(ports)
        api.put_head("demo-head")

    thread = threading.Thread(target=be_back)
    thread.start()
    logging.getLogger("manta").propagate = True
    manta.init(ADDRESS, configure_logging=False)
    thread.join()

    assert manta.get(double.remote(2)) == 4
    said = [record.message for record in caplog.records if "waiting" in record.message]
    assert len(said) == 1, said
    assert "connection refused" in said[0] if missing == "gateway" else "its head has no pod now" in said[0]


def test_a_token_that_was_changed_meanwhile_is_read_anew(driver, door):
    assert manta.get(double.remote(1)) == 2
    tokens, authority = door.folder / "tokens", (door.folder / "ca.pem").read_bytes()
    before, new = tokens.read_bytes(), new_token()

    def change(tokens_are, token):
        """Until the gateway has looked at its file again, and the driver at the Secret."""
        write_private(str(tokens), tokens_are)
        driver.put_cluster(kube_api.available(), token=token, authority=authority)
        driver.requests.clear()

        def is_cut_and_comes_back():
            driver.cut()
            manta.get(double.remote(2))
            return any("/secrets/" in path for path in driver.requests)

        wait_until(is_cut_and_comes_back, what="the old token to be refused")

    change(f"submitter {new}\n".encode(), new)
    change(before, door.submitter)
    assert manta.get(double.remote(3)) == 6


PROGRAM = """
import sys, manta
manta.init(sys.argv[1], log_to_driver=False)
@manta.remote
def double(x): return 2 * x
print(sum(manta.get([double.remote(n) for n in range(20)])))
"""


def together(count):
    """What so many drivers print, each in its process."""
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, ADDRESS], stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    return [process.communicate(timeout=200)[0].strip() for process in processes]


def test_several_drivers_side_by_side(api):
    assert together(4) == ["380"] * 4
    wait_until(lambda: api.connections == 0, what="the API server to be left")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_drivers_side_by_side(api):
    assert together(20) == ["380"] * 20
