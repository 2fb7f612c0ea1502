"""gRPC has our settings in every process that dials or serves by it, and what such a process starts has not."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import importlib, json, os, sys

class Noted:
    names = []

    def find_spec(name, *more):
        if name in ("grpc", "manta.transport.grpc_settings"):
            Noted.names.append(name)

sys.meta_path.insert(0, Noted)
environ = dict(os.environ)
importlib.import_module(sys.argv[1])
print(json.dumps([Noted.names, sorted(set(os.environ.items()) ^ set(environ.items()))]))
"""
IN_ORDER = ["manta.transport.grpc_settings", "grpc"]


def imported(module: str) -> tuple[list[str], list[list[str]]]:
    """In which order a process has them, and how its environment has changed."""
    # Another test of this process may have imported the same.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, module], check=True, capture_output=True, text=True, env=clean
    )
    order, changed = json.loads(answer.stdout)
    return order, changed


@pytest.mark.parametrize(
    "module",
    [
        "manta.control.__main__",
        "manta.dashboard.__main__",
        "manta.jobs.supervisor",
        "manta.transport.grpc",
        "manta_operator.__main__",
    ],
)
def test_settings_come_first_and_leave_no_trace(module):
    """What a job or a task runs may use gRPC too, as it likes."""
    assert imported(module) == (IN_ORDER, [])


def test_a_gateway_adds_one_of_its_own():
    """It starts no user code."""
    assert imported("manta.gateway.__main__") == (IN_ORDER, [["GRPC_EXPERIMENTS", "-event_engine_listener"]])


def test_a_raylet_imports_grpc_only_once_its_guard_is_there():
    """The guard is forked from it, and its workers get its environment."""
    assert imported("manta.raylet.__main__") == ([], [])
    assert imported("manta.raylet.server") == ([], [])


def test_what_the_user_says_is_left():
    """To see what gRPC does, for example."""
    program = "import os, manta.transport.grpc_settings; print(os.environ['GRPC_VERBOSITY'])"
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env={**os.environ, "GRPC_VERBOSITY": "ERROR"}
    )  # fmt: skip
    assert answer.stdout == "ERROR\n"


def test_names_are_looked_up_as_by_every_other_program():
    """gRPC's own resolver waits for servers outside of a cluster that has none."""
    program = (
        "import manta.transport.grpc_settings, grpc\n"
        "try:\n"
        "    grpc.insecure_channel('no-such-name.invalid:1').unary_unary('/a/b')(b'', timeout=30)\n"
        "except grpc.RpcError as error:\n"
        "    print(error.details())\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "getaddrinfo" in answer.stdout
