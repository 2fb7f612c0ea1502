"""`manta start` and `manta stop`: a cluster whose nodes run in the background, and the first mistakes people make."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from manta.cli import main, processes
from manta.transport import credentials
from tests.process.cli.conftest import sessions, wait_until_gone
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Any free ports, loopback only: several runs at a time do not meet.
PORTS = ["--port", "0", "--door-port", "0", "--gateway-port", "0", "--dashboard-port", "0", "--metrics-port", "0"]
HERE = ["--node-ip", "127.0.0.1", *PORTS, "--num-cpus", "1", "--object-store-memory", "80M"]

#: A driver that joins the newest node on this machine, and uses what only the other one has.
PROGRAM = """
import os
import time

import manta

page = manta.init(address="auto", log_to_driver=False).address_info["webui_url"]


@manta.remote(resources={"two": 1}, num_cpus=0)
class Counter:
    def __init__(self):
        self.total = 0

    def add(self, x):
        self.total += x
        return self.total

    def pid(self):
        return os.getpid()


counter = Counter.remote()
pid = manta.get(counter.pid.remote())
print(manta.get([counter.add.remote(1) for _ in range(3)]), len(manta.nodes()), page)
del counter
while os.path.exists(f"/proc/{pid}"):
    time.sleep(0.01)
"""


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Run a command as a program; its exit code, output and errors. Whatever was started ends with the test."""

    def run(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "manta.cli", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        return done.returncode, done.stdout, done.stderr

    yield run
    run("stop", "--all")


def started(cli: Cli, *words: str) -> dict[str, Any]:
    """Start a node; what it says of itself."""
    code, out, err = cli("start", *words, *HERE, "-o", "json")
    assert code == 0, err
    facts: dict[str, Any] = json.loads(out)
    return facts


def test_a_program_elsewhere_comes_in_through_the_heads_gateway(cli, tmp_path):
    head = started(cli, "--head", "--resources", '{"two": 1}')
    folder = os.path.dirname(head["join_file"])
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("auto", head["gateway"]))
    given = {
        "MANTA_CA_FILE": os.path.join(folder, "ca.crt"),
        "MANTA_TOKEN_FILE": os.path.join(folder, "driver.token"),
        "MANTA_TMPDIR": str(tmp_path / "another machine"),
    }
    command = [sys.executable, str(program)]

    done = subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout == f"[1, 2, 3] 1 {head['dashboard'].removeprefix('https://')}\n", done.stderr

    del given["MANTA_TOKEN_FILE"]
    refused = subprocess.run(
        command, env={**os.environ, **given}, capture_output=True, text=True, timeout=50, check=False
    )
    assert refused.returncode == 1
    assert "MANTA_TOKEN_FILE" in refused.stderr.splitlines()[-1]


def test_a_head_without_a_gateway_says_nothing_of_one(cli):
    head = started(cli, "--head", "--no-gateway")
    assert head["gateway"] == ""


def test_a_head_a_node_a_program_and_the_end(cli, tmp_path):
    head = started(cli, "--head")
    node = started(cli, "--join-file", head["join_file"], "--resources", '{"two": 1}', "--labels", "zone=b,disk=ssd")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    for address in ("auto", head["control"]):
        program.write_text(PROGRAM.replace("auto", address))
        done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=50, check=False)
        assert done.stdout == f"[1, 2, 3] 2 {head['dashboard'].removeprefix('https://')}\n", done.stderr
        assert done.stderr == "", "the end of an actor elsewhere is no news for its driver's terminal"
    code, out, _ = cli("status", "-o", "json", "--address", head["control"])
    status = json.loads(out)
    assert code == 0
    assert [(one["head"], one["state"]) for one in status["nodes"]] == [(True, "ALIVE"), (False, "ALIVE")]
    assert status["nodes"][1]["labels"] == {"zone": "b", "disk": "ssd"}
    assert status["driver_pid"] is None

    code, _, err = cli("stop")
    assert code == 2
    assert f"manta stop --address unix:{node['raylet']}" in err
    assert "begun by `manta start`" in err
    assert cli("stop", "--address", f"unix:{node['raylet']}")[0] == 0
    wait_until_gone(node["pid"])
    code, out, _ = cli("status", "-o", "json")
    assert [one["death_reason"] for one in json.loads(out)["nodes"]] == [None, "it ended: signal SIGINT"]
    assert cli("stop")[0] == 0
    wait_until_gone(head["pid"])
    assert sessions() == []


def test_a_control_that_is_killed_comes_back_where_the_nodes_know_it(cli):
    head = started(cli, "--head")
    started(cli, "--join-file", head["join_file"])
    (control,) = [
        pid for pid in processes.mine_with("manta.control") if head["session_dir"] in processes.arguments(pid)
    ]
    os.kill(control, signal.SIGKILL)
    wait_until_gone(control)

    def nodes() -> list[str]:
        code, out, _ = cli("status", "-o", "json")
        return [one["state"] for one in json.loads(out)["nodes"]] if code == 0 else []

    wait_until(lambda: nodes() == ["ALIVE", "ALIVE"], what="both nodes to be back", timeout_s=30)


def test_what_is_printed_says_how_to_go_on(cli):
    code, out, _ = cli("start", "--head", *HERE)
    assert code == 0
    for part in (
        "manta start --address 127.0.0.1:",
        "--join-file join.json",
        'manta.init(address="auto")',
        "join token",
        "manta stop",
        "only it can join: --node-ip",
        "manta dashboard",
    ):
        assert part in out
    code, out, err = cli("dashboard")
    assert code == 0, err
    assert "/sign-in?ticket=" in out
    assert "The page is at https://127.0.0.1:" in out
    assert re.search(r"its SHA-256 is\n +([0-9A-F]{2}:){31}[0-9A-F]{2}\n", out + "\n")


def test_a_port_that_is_taken_is_named_with_the_flag_that_chooses_another(cli):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for flag in ("--port", "--door-port", "--gateway-port", "--dashboard-port"):
            code, _, err = cli("start", "--head", *HERE, flag, port)
            assert code == 1
            assert f"cannot listen on port {port} of 127.0.0.1" in err
            assert f"Choose another port with {flag}" in err
    assert sessions() == []


def test_an_address_that_is_not_this_machines_is_named(cli):
    code, _, err = cli("start", "--head", *HERE, "--node-ip", "203.0.113.7")
    assert code == 1
    assert "cannot listen on" in err


def test_nobody_at_the_heads_address(cli, tmp_path):
    credentials.make(str(tmp_path / "c"), "c1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    path = credentials.write_join_file(str(tmp_path / "c"), f"127.0.0.1:{port}")
    code, _, err = cli("start", "--join-file", path, *HERE)
    assert code == 1
    assert f"nobody listens on port {port} of 127.0.0.1" in err
    assert sessions() == []


def test_another_clusters_join_file(cli, tmp_path):
    head = started(cli, "--head")
    credentials.make(str(tmp_path / "c"), "c1")
    path = credentials.write_join_file(str(tmp_path / "c"), head["control"])
    code, _, err = cli("start", "--join-file", path, *HERE)
    assert code == 1
    assert "do not trust each other" in err
    assert "its certificate is not this cluster's" in err


def test_a_file_that_is_no_join_file(cli, tmp_path):
    path = tmp_path / "join.json"
    path.write_text("{}")
    path.chmod(0o600)
    code, _, err = cli("start", "--join-file", str(path), *HERE)
    assert (code, "has format None" in err) == (1, True)


def test_a_state_folder_keeps_the_cluster_and_has_one_head_at_a_time(cli, tmp_path):
    state = str(tmp_path / "state")
    head = started(cli, "--head", "--state-dir", state)
    code, _, err = cli("start", "--head", "--state-dir", state, *HERE)
    assert code == 1
    assert "A head runs with this --state-dir already" in err
    assert cli("stop")[0] == 0
    again = started(cli, "--head", "--state-dir", state)
    assert (again["cluster"], again["join_file"]) == (head["cluster"], head["join_file"])
    started(cli, "--join-file", head["join_file"], "--address", again["control"])


def test_a_head_that_is_started_again_without_a_page_tells_drivers_of_none(cli, tmp_path):
    """Although the one before it was killed and its dashboard could not take back where it was."""
    state = str(tmp_path / "state")
    ask = "import manta; print(repr(manta.init(address='auto', log_to_driver=False).address_info['webui_url']))"
    head = started(cli, "--head", "--no-gateway", "--state-dir", state)
    for pid in processes.mine_with(head["session_dir"]):
        with contextlib.suppress(ProcessLookupError):  # some end with the one before
            os.kill(pid, signal.SIGKILL)
    assert cli("stop", "--all")[0] == 0
    started(cli, "--head", "--no-gateway", "--no-dashboard", "--state-dir", state)
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "''\n", done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say --head to begin a cluster, or --join-file FILE to join one"),
        (("--address", "10.0.0.1:7600"), "the head of 10.0.0.1:7600 wrote that file"),
        (("--head", "--address", "10.0.0.1:7600"), "--head begins a new cluster"),
        (("--join-file", "f", "--state-dir", "d"), "--state-dir is for a head"),
        (("--join-file", "f", "--address", "10.0.0.1"), "--address is HOST:PORT"),
        (("--head", "--num-cpus", "-1"), "-1"),
        (("--head", "--port", "70000"), "a port is a number up to 65535"),
        (("--head", "--memory", "lots"), "a size is bytes, or like 500M or 8GiB"),
        (("--head", "--resources", "disk"), "is JSON like"),
        (("--head", "--resources", '{"CPU": 3}'), "CPU"),
        (("--head", "--labels", "zone"), "is KEY=VALUE"),
        (("--head", "--object-store-memory", "1K"), "minimum allowed"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_starts(capsys, words, said):
    try:
        code = main(["start", *words])
    except SystemExit as usage:
        code = usage.code
    assert code == 2
    assert said in capsys.readouterr().err
    assert sessions() == []


def test_in_the_foreground_it_ends_with_a_signal_and_leaves_nothing(cli):
    command = [sys.executable, "-m", "manta.cli", "start", "--head", "--block", *HERE, "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    wait_until_gone(facts["pid"])
    assert sessions() == []


def test_in_the_foreground_the_nodes_end_is_its_own(cli):
    command = [sys.executable, "-m", "manta.cli", "start", "--head", "--block", *HERE, "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        os.kill(json.loads(process.stdout.readline())["pid"], signal.SIGKILL)
        assert process.wait(20) == 1
        assert "the node ended by itself" in process.stderr.read()
    assert sessions() == []


SPOT_PROGRAM = """
import os, sys, time
import manta

manta.init(sys.argv[1], log_to_driver=False)


@manta.remote(resources={"two": 1}, num_cpus=0, max_retries=0)
def until(path):
    print("runs", flush=True)
    open(path + ".runs", "w").close()
    while not os.path.exists(path):
        time.sleep(0.01)
    return "well"


@manta.remote(resources={"two": 1}, num_cpus=0, max_retries=0)
def large():
    return b"x" * (1 << 20)


ref = large.remote()
manta.wait([ref], fetch_local=False)
try:
    print(manta.get(until.remote(sys.argv[2])))
    print(len(manta.get(ref)))
except manta.exceptions.RayError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_a_node_in_the_foreground_is_drained_by_one_signal_and_ends_at_the_second(cli, tmp_path, signals):
    """What runs there ends well, and its objects stay in the cluster; a second signal does not wait for them."""
    head = started(cli, "--head", "--no-gateway", "--no-dashboard")
    command = [
        sys.executable,
        "-m",
        "manta.cli",
        "start",
        "--join-file",
        head["join_file"],
        "--block",
        *HERE,
        "-o",
        "json",
    ]
    program, word = tmp_path / "program.py", tmp_path / "word"
    program.write_text(SPOT_PROGRAM)
    with subprocess.Popen([*command, "--resources", '{"two": 1}'], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        facts = json.loads(node.stdout.readline())
        driver = subprocess.Popen(
            [sys.executable, str(program), f"unix:{head['raylet']}", str(word)], stdout=subprocess.PIPE, text=True
        )
        wait_until(lambda: os.path.exists(f"{word}.runs"), what="the task to run", timeout_s=30)
        node.send_signal(signal.SIGTERM)
        draining = f"unix:{head['raylet']}"
        wait_until(lambda: "DRAINING" in cli("status", "--address", draining)[1], what="the drain", timeout_s=30)
        if signals == 2:
            node.send_signal(signal.SIGINT)
        else:
            assert node.poll() is None
            word.touch()
        assert node.wait(30) == 0
        said = driver.communicate(timeout=30)[0].splitlines()
    assert said == (["well", str(1 << 20)] if signals == 1 else ["WorkerCrashedError"])
    wait_until_gone(facts["pid"])
    assert not os.path.exists(facts["session_dir"])


def test_the_join_file_is_for_its_owner_alone(cli):
    head = started(cli, "--head")
    assert os.stat(head["join_file"]).st_mode & 0o077 == 0
    folder = os.path.dirname(head["join_file"])
    for name in os.listdir(folder):
        if name.endswith((".key", ".token", ".json")):
            assert os.stat(os.path.join(folder, name)).st_mode & 0o077 == 0, name
