"""Turns `proto/` into the Python package `manta.rpc.v1`: as the build's hook, and by hand with `python hatch_build.py`.

The generator is the one that pyproject.toml pins for building. A build runs in an environment that holds it; by hand, in
an environment that holds another version or none, it is put into `.venv-protoc` first: every checkout gets the same code.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # hatchling is only there during a build; this much of it is all that the types need.
    class BuildHookInterface:
        """What a hook derives from."""
else:
    try:
        from hatchling.builders.hooks.plugin.interface import BuildHookInterface
    except ImportError:  # run by hand, outside a build
        BuildHookInterface = object

ROOT = Path(__file__).resolve().parent
#: Where the contracts are.
PROTO = ROOT / "proto"
#: Import root of the generated package: `proto/manta/rpc/v1/x.proto` becomes `runtime/manta/rpc/v1/x_pb2.py`.
OUT = ROOT / "runtime"
PACKAGE = "manta/rpc/v1"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")


class ProtobufBuildHook(BuildHookInterface):
    """Generates the protobuf code before a wheel, an editable install or a source archive is put together."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate into the source tree; pyproject.toml lists the files as artifacts, as git ignores them."""
        generate(sys.executable)


def pinned_generator() -> list[str]:
    """The generator's requirements as pyproject.toml states them for building, markers and all."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    requires: list[str] = pyproject["build-system"]["requires"]
    return [requirement for requirement in requires if requirement.startswith("grpcio-tools==")]


def generator_python() -> str:
    """An interpreter that can run the pinned generator: this one if it holds it, else one made for the purpose."""
    versions = {requirement.split(";")[0].removeprefix("grpcio-tools==").strip() for requirement in pinned_generator()}
    try:
        if importlib.metadata.version("grpcio-tools") in versions:
            return sys.executable
    except importlib.metadata.PackageNotFoundError:
        pass
    home = ROOT / ".venv-protoc"
    python = home / "bin" / "python"
    made_for = home / "made-for.txt"
    wanted = "\n".join([sys.version, *pinned_generator()])
    if not (python.exists() and made_for.exists() and made_for.read_text(encoding="utf-8") == wanted):
        print(f"putting the pinned protobuf generator into {home.name}", file=sys.stderr)
        # Without pip of its own: this interpreter's pip fills it, which saves most of the time.
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", home], check=True)
        pip: list[str] = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, *pinned_generator()], check=True)
        made_for.write_text(wanted, encoding="utf-8")
    return str(python)


def generate(python: str) -> list[Path]:
    """Write the package from all protos; files whose content is already right stay untouched.

    Args:
        python: Interpreter that holds grpcio-tools.

    Returns:
        The files that changed, vanished ones included.
    """
    protos = sorted(str(path.relative_to(PROTO)) for path in (PROTO / PACKAGE).glob("*.proto"))
    changed: list[Path] = []
    with tempfile.TemporaryDirectory() as scratch:
        fresh: dict[str, bytes] = {}
        if protos:
            outputs = [f"--{kind}={scratch}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
            subprocess.run([python, "-m", "grpc_tools.protoc", f"-I{PROTO}", *outputs, *protos], check=True)
            for path in (Path(scratch) / PACKAGE).iterdir():
                # A proto without services still gets a stub file; it would only import grpc for nothing.
                if not (path.name.endswith("_pb2_grpc.py") and b"Servicer" not in path.read_bytes()):
                    fresh[path.name] = path.read_bytes()
        target = OUT / PACKAGE
        target.mkdir(parents=True, exist_ok=True)
        for pattern in GENERATED:
            for stale in target.glob(pattern):
                if stale.name not in fresh:
                    stale.unlink()
                    changed.append(stale)
        for name, content in sorted(fresh.items()):
            path = target / name
            if not path.exists() or path.read_bytes() != content:
                # Written beside and renamed: somebody may be importing the old one this moment.
                beside = path.with_name(f".{name}.new")
                beside.write_bytes(content)
                beside.replace(path)
                changed.append(path)
    return changed


def main() -> int:
    """Bring the generated package up to date and name what changed."""
    try:
        changed = generate(generator_python())
    except subprocess.CalledProcessError as error:
        return error.returncode  # protoc or pip has said what is wrong
    for path in changed:
        print(path.relative_to(ROOT), "" if path.exists() else "(removed)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
