"""The generated protobuf code runs on the oldest and on the newest runtime that pyproject.toml admits."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]

#: Imports every generated module, fills one message, sends it round, and builds each gRPC service's server side.
ROUND_TRIP = """
import importlib, pkgutil, sys, types
sys.path.insert(0, sys.argv[1])
package = types.ModuleType("manta"); package.__path__ = [sys.argv[1] + "/manta"]; sys.modules["manta"] = package
import manta.rpc.v1
names = [module.name for module in pkgutil.iter_modules(manta.rpc.v1.__path__) if "_pb2" in module.name]
modules = {name: importlib.import_module("manta.rpc.v1." + name) for name in names}
common = modules["common_pb2"]
sent = common.ErrorInfo(code="ACTOR_DIED", message="é", fields={"actor": "a"}, blobs={"cause": bytes(range(256))})
received = common.ErrorInfo.FromString(sent.SerializeToString())
assert received == sent and received.blobs["cause"] == bytes(range(256)), received
import google.protobuf, grpc
print(google.protobuf.__version__, grpc.__version__, len(modules))
"""


def requirement(name: str) -> Requirement:
    """What pyproject.toml asks for on this interpreter."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    [found] = [
        wanted
        for wanted in map(Requirement, dependencies)
        if wanted.name == name and (wanted.marker is None or wanted.marker.evaluate())
    ]
    return found


def lowest(wanted: Requirement) -> str:
    """The oldest version the requirement admits."""
    [floor] = [bound.version for bound in wanted.specifier if bound.operator == ">="]
    return floor


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("end", ["lowest", "highest"])
def test_generated_code_runs_on_both_ends_of_the_range(end, tmp_path):
    """A throwaway environment holds nothing but grpcio and protobuf of that end; any warning of theirs is an error."""
    wanted = [requirement("protobuf"), requirement("grpcio")]
    if end == "lowest":
        packages = [f"{each.name}=={lowest(each)}" for each in wanted]
    else:
        packages = [f"{each.name}{each.specifier}" for each in wanted]
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--only-binary", ":all:", "--upgrade", *packages], check=True)

    done = subprocess.run(
        [python, "-W", "error", "-c", ROUND_TRIP, ROOT / "runtime"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    protobuf, grpcio, modules = done.stdout.split()
    assert int(modules) >= 3
    if end == "lowest":
        assert [protobuf, grpcio] == [lowest(each) for each in wanted]
    else:
        assert all(each.specifier.contains(version) for each, version in zip(wanted, [protobuf, grpcio], strict=True))
