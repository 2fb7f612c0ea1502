"""init and shutdown: twice, never, again, and who starts a cluster by itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
import ray

from tests.process.semantics.support import OBJECT_REF, manta_does_better, manta_only, run_driver

pytestmark = pytest.mark.shared_cluster

CLUSTER = None  # this module starts its own
SETTINGS = {"num_cpus": 2, "log_to_driver": False, "include_dashboard": False}


@pytest.fixture(scope="module")
def context():
    """The cluster that the tests share which do not end it; they stand first in this file."""
    assert not ray.is_initialized()
    with pytest.raises(Exception, match=r"init"):
        ray.cluster_resources()  # does not start one
    ray.shutdown()  # of nothing, twice: nothing happens
    ray.shutdown()
    return ray.init(**SETTINGS)


def test_is_initialized(context):
    assert ray.is_initialized() is True


def test_the_context_says_versions_and_address(context):
    assert repr(context).startswith("RayContext(dashboard_url=")
    info = context.address_info
    for name in ("node_ip_address", "object_store_address", "raylet_socket_name", "session_dir", "address", "node_id"):
        assert info[name], name
    assert "webui_url" in info
    assert info["gcs_address"] == info["address"]


def test_a_second_init_is_an_error_that_says_how_to_avoid_it(context):
    with pytest.raises(RuntimeError, match="ignore_reinit_error=True"):
        ray.init(**SETTINGS)
    assert ray.is_initialized()


def test_a_second_init_may_be_ignored(context):
    again = ray.init(ignore_reinit_error=True)
    assert again.address_info["node_id"] == context.address_info["node_id"]


def test_a_ref_of_this_cluster_works(context):
    assert ray.get(ray.put(1)) == 1


@ray.remote
def decorated_before_any_init():
    return "works"


@ray.remote
class DecoratedBeforeAnyInit:
    def f(self):
        return "works"


def test_what_was_decorated_before_init_works(context):
    assert ray.get(decorated_before_any_init.remote()) == "works"
    assert ray.get(DecoratedBeforeAnyInit.remote().f.remote()) == "works"


def test_after_shutdown_and_a_new_init_it_still_works(context):
    """And so does what was used before; a ref and a handle of the old cluster do not."""
    handle = DecoratedBeforeAnyInit.remote()
    old = ray.put("old")
    ray.get(handle.f.remote())
    ray.shutdown()
    assert not ray.is_initialized()
    with ray.init(**SETTINGS):
        assert ray.get(decorated_before_any_init.remote()) == "works"
        assert ray.get(DecoratedBeforeAnyInit.remote().f.remote()) == "works"
        with pytest.raises(ValueError):
            ray.kill(handle)
        with pytest.raises(Exception):  # noqa: B017 (Ray 2.60: it times out; Manta says that it is another cluster's)
            ray.get(old, timeout=1)
    assert not ray.is_initialized()  # leaving the `with` block is a shutdown


def test_an_unknown_setting_is_named():
    with pytest.raises(RuntimeError, match="cpus"):
        ray.init(cpus=2)
    assert not ray.is_initialized()


def test_local_mode_is_gone():
    with pytest.raises(RuntimeError, match="local_mode"):
        ray.init(local_mode=True)


def test_auto_without_a_cluster_is_a_connection_error(tmp_path):
    with pytest.raises(ConnectionError):
        ray.init(address="auto", _temp_dir=str(tmp_path))
    assert not ray.is_initialized()


def test_remote_starts_a_cluster_when_there_is_none(tmp_path):
    """So do put, get, wait, get_actor...; not cluster_resources, nodes and timeline."""
    ended = run_driver(
        """
        import ray
        try:
            ray.nodes()
        except Exception as error:
            print("nodes:", ray.is_initialized())
        print(ray.get(ray.remote(lambda: 7).remote()), ray.is_initialized())
        """,
        tmp_path,
    )
    assert ended.lines == ["nodes: False", "7 True"], ended.stderr


def test_put_starts_a_cluster_and_the_message_says_so(tmp_path):
    ended = run_driver("import ray\nprint(ray.put(1))\n", tmp_path)
    import re

    assert re.fullmatch(OBJECT_REF, ended.lines[0])
    assert re.search(r"Started a local Manta cluster", ended.stderr)


def test_auto_init_can_be_turned_off(tmp_path):
    ended = run_driver("import ray\nray.put(1)\n", tmp_path, RAY_ENABLE_AUTO_CONNECT="0")
    assert ended.returncode == 1
    assert "init" in ended.stderr


def test_import_starts_nothing(tmp_path):
    ended = run_driver("import ray\nprint(ray.is_initialized())\n", tmp_path)
    assert (ended.lines, ended.stderr) == (["False"], "")


@manta_does_better("Ray tells its sections of it through a chain of failed asserts")
def test_nonsense_settings_are_named():
    for settings in ({"num_cpus": -1}, {"num_cpus": "two"}, {"object_store_memory": 0}, {"resources": {"CPU": 1}}):
        with pytest.raises((ValueError, TypeError), match=next(iter(settings))):
            ray.init(**settings)
        assert not ray.is_initialized()


def test_a_driver_that_only_imports_exits_at_once():
    """No thread, no child, no message."""
    done = subprocess.run(
        [sys.executable, "-c", "import ray"] if "ray" in sys.executable else [sys.executable, "-c", "import manta"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


@manta_only("on Ray an exit handler may start a cluster")
def test_no_cluster_is_started_by_itself_while_the_program_ends(tmp_path):
    """Nobody would end it, and its folder would stay."""
    ended = run_driver(
        """
        import atexit

        def late(call):
            try:
                call()
            except Exception as error:
                print(type(error).__name__, "is ending" in str(error))

        atexit.register(late, lambda: ray.get(ref))
        atexit.register(late, lambda: ray.get(ray.remote(lambda: 1).remote()))
        import ray
        ray.init(num_cpus=1, log_to_driver=False)
        ref = ray.put(1)
        """,
        tmp_path,
    )
    assert ended.lines == ["NotConnectedError True"] * 2, ended.stderr


def test_the_nodes_address_may_be_said(tmp_path):
    code = """
        import ray
        context = ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False, _node_ip_address="127.0.0.2")
        print(context.address_info["node_ip_address"], ray.cluster_resources()["node:127.0.0.2"])
        """
    ended = run_driver(code, tmp_path)
    assert ended.lines == ["127.0.0.2 1.0"], ended.stderr
