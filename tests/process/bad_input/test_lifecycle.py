"""Calls before init and after shutdown, and things of a cluster that is gone."""

# mypy: ignore-errors
# The calls are wrong on purpose; a type checker finds most of them.

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import manta
from manta import exceptions
from tests.process.semantics.support import plain, run_driver

pytestmark = pytest.mark.shared_cluster

CLUSTER = None
SETTINGS = {"num_cpus": 1, "log_to_driver": False}


@manta.remote
class A:
    def ping(self):
        return "pong"


@manta.remote
def f(x=None):
    return x


@pytest.fixture(scope="module")
def leftovers():
    """Refs, a handle and a generator of a cluster that has been shut down; a new one runs."""

    @manta.remote
    def stream():
        yield 1

    with manta.init(**SETTINGS):
        handle = A.remote()
        manta.get(handle.ping.remote())
        things = {"put": manta.put(1), "result": f.remote(2), "handle": handle, "stream": stream.remote()}
        manta.get(things["result"])
    manta.init(**SETTINGS)
    yield things
    manta.shutdown()


@pytest.mark.parametrize(
    "use",
    [
        lambda old: manta.get(old["put"], timeout=20),
        lambda old: manta.get(old["result"], timeout=20),
        lambda old: manta.wait([old["put"]], timeout=20),
        lambda old: manta.get(f.remote(old["put"]), timeout=20),
        lambda old: manta.get(f.remote([old["put"]]), timeout=20),
        lambda old: manta.get(old["handle"].ping.remote(), timeout=20),
        lambda old: manta.kill(old["handle"]),
        lambda old: next(old["stream"]),
    ],
    ids=["get put", "get result", "wait", "argument", "nested argument", "actor call", "kill", "stream"],
)
def test_a_thing_of_an_earlier_cluster_is_refused_with_that_reason(use, leftovers):
    """Never a timeout: it is known at once."""
    with pytest.raises((exceptions.RayError, ValueError)) as caught:
        use(leftovers)
    assert not isinstance(caught.value, exceptions.GetTimeoutError)
    assert re.search(r"(earlier|previous|another|other) (cluster|session)", plain(caught.value)), plain(caught.value)


def test_dropping_things_of_an_earlier_cluster_hurts_nobody(leftovers):
    import gc

    extra = manta.put(1)
    manta.shutdown()
    manta.init(**SETTINGS)
    del extra
    gc.collect()
    assert manta.get(f.remote(3)) == 3


@pytest.mark.parametrize(
    "call",
    [
        "manta.put(1)",
        "manta.get([])",
        "manta.remote(len).remote([])",
        "manta.get_actor('x')",
        "manta.nodes()",
        "manta.cluster_resources()",
    ],
)
def test_a_call_before_init_without_auto_init_says_init(call: str, tmp_path):
    ended = run_driver(
        f"import manta\ntry:\n    {call}\nexcept Exception as error:\n    print(type(error).__name__, error)\nprint('alive')\n",
        tmp_path,
        MANTA_ENABLE_AUTO_CONNECT="0",
    )
    assert "init" in ended.lines[0], ended.stderr
    assert ended.lines[-1] == "alive"


def test_a_get_that_waits_while_another_thread_shuts_down_ends(tmp_path):
    ended = run_driver(
        """
        import threading, time, manta
        manta.init(num_cpus=1, log_to_driver=False)
        ref = manta.remote(lambda: time.sleep(600)).remote()
        seen = []

        def wait():
            try:
                manta.get(ref)
            except Exception as error:
                seen.append(type(error).__name__)

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            manta.get(ref, timeout=0.5)
        except TimeoutError:
            pass
        manta.shutdown()
        thread.join(30)
        print(thread.is_alive(), seen)
        """,
        tmp_path,
    )
    assert ended.lines == ["False ['NotConnectedError']"], ended.stderr
    assert "waiting for" not in ended.stderr


@pytest.mark.parametrize(
    "address", ["nowhere:1", "127.0.0.1:1", "/no/such/socket", "ray://", "k9s://x", " ", "a\nb", 5]
)
def test_an_address_that_leads_nowhere_is_named(address: object):
    manta.shutdown()
    with pytest.raises((ConnectionError, ValueError, TypeError)) as caught:
        manta.init(address=address)
    assert not manta.is_initialized()
    assert caught.value.args


def test_files_beside_the_program_that_are_named_like_modules_of_python_s_own_do_no_harm(tmp_path):
    """The cluster's own processes do not look for modules where they were started."""
    for name in ("inspect", "dataclasses", "asyncio", "signal"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    program = tmp_path / "elsewhere" / "driver.py"
    program.parent.mkdir()
    program.write_text(
        "import manta\n"
        "manta.init(num_cpus=1, log_to_driver=False)\n"
        "print(manta.get(manta.remote(lambda: 7).remote()))\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout == "7\n", done.stderr
