"""The program behind `./dev`: sets the checkout up and runs its examples, checks, tests and benchmarks.

Standard library only, as it runs before anything is installed. Every command sets up what it needs first; when nothing
changed since the last time, that costs a few milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PEERS_VENV = ROOT / ".venv-peers"
#: The wire as last released (CONTRIBUTING.md says how it is written); absent before the first release.
RELEASED_PROTOS = ROOT / "proto" / "released.json"
#: Process tests that `./dev test` runs a second time, with every driver outside of its cluster; a minute's worth. All of them go
#: that way by `./dev test tests/process/semantics --through-gateway`.
OUTSIDE_TOO = tuple(
    f"tests/process/semantics/test_{name}.py"
    for name in ("tasks", "actors", "get_put_wait", "generators", "futures", "objects", "cancel")
)
#: Test files that run side by side: those of several nodes wait more than they compute.
SIDE_BY_SIDE = ("-n", str(max(2, min(8, (os.cpu_count() or 1) * 3 // 2))), "--dist", "loadfile")
#: What decides whether an environment has to be installed again.
INSTALL_INPUTS = ("pyproject.toml", "hatch_build.py", "operator/pyproject.toml")


def say(text: str) -> None:
    """Print one line about what is going on, apart from the output of the programs that are run."""
    print(f"--- {text}", file=sys.stderr, flush=True)


def fail(text: str) -> NoReturn:
    """End with a message and exit status 1."""
    print(f"./dev: {text}", file=sys.stderr, flush=True)
    sys.exit(1)


def run(*command: str | Path) -> None:
    """Run a program in the root of the checkout; its failure ends this one with the same status."""
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status != 0:
        sys.exit(status if status > 0 else 128 - status)


# --- environments ---


def python_of(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / "bin" / "python"


def base_python() -> str:
    """The interpreter to make environments from, also when this one belongs to an environment."""
    return getattr(sys, "_base_executable", None) or sys.executable


def works(venv: Path) -> bool:
    """Whether an environment's interpreter still runs (its base may have been removed) and has pip."""
    if not python_of(venv).exists():
        return False
    probe = "import sys, importlib.util as u; sys.exit(sys.version_info < (3, 11) or u.find_spec('pip') is None)"
    return subprocess.run([python_of(venv), "-c", probe], capture_output=True, check=False).returncode == 0


def digest(paths: Sequence[Path]) -> str:
    """One hash over names and contents of files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.relative_to(ROOT)}\0".encode())
        total.update(path.read_bytes() if path.exists() else b"(absent)")
    return total.hexdigest()


def read_stamp(venv: Path) -> dict[str, object]:
    """What was last installed into an environment; empty if unknown."""
    try:
        stamp = json.loads((venv / "manta-setup.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(venv: Path, stamp: dict[str, object]) -> None:
    """Remember what was installed; written last, so that an interrupted setup starts again."""
    (venv / "manta-setup.json").write_text(json.dumps(stamp, indent=1), encoding="utf-8")


def make_venv(venv: Path) -> None:
    """Make a virtual environment with pip in it."""
    say(f"making {venv.name} with {base_python()}")
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run([base_python(), "-m", "venv", venv], capture_output=True, text=True, check=False)
    if made.returncode == 0 and works(venv):
        return
    # Debian keeps ensurepip in a package of its own (python3-venv): do without it.
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run(
        [base_python(), "-m", "venv", "--without-pip", venv], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        fail(f"{base_python()} cannot make a virtual environment:\n{made.stdout}{made.stderr}")
    say("this Python comes without ensurepip: fetching pip from pypi.org")
    try:
        wheel = fetch_pip(venv)
    except (OSError, ValueError, LookupError) as error:
        fail(f"could not fetch pip ({error}). Install it yourself (Debian, Ubuntu: apt install python3-venv) and go on")
    run(python_of(venv), f"{wheel}/pip", "install", "--quiet", "--no-index", wheel)
    wheel.unlink()


def fetch_pip(venv: Path) -> Path:
    """Download pip's newest wheel, compare it with the hash its index names, and return its path."""
    index = "https://pypi.org/pypi/pip/json"
    with urllib.request.urlopen(index, timeout=60) as answer:
        files = json.load(answer)["urls"]
    [file] = [file for file in files if file["packagetype"] == "bdist_wheel"]
    address = urllib.parse.urljoin(index, file["url"])  # mirrors name it relative to themselves
    if not address.startswith("https://"):
        raise ValueError(f"unexpected address {address}")
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - its scheme was looked at
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != file["digests"]["sha256"]:
        raise ValueError("its hash is not the one the index names")
    wheel = venv / Path(str(file["filename"])).name
    wheel.write_bytes(content)
    return wheel


def protos() -> list[Path]:
    """The wire's contracts."""
    return sorted((ROOT / "proto").rglob("*.proto"))


def ensure(venv: Path, extras: set[str]) -> None:
    """Have an environment that holds the project, editable, with at least these extras and current protobuf code."""
    if not works(venv):
        make_venv(venv)
    stamp = read_stamp(venv)
    had = stamp.get("extras")
    installed = set(had) if isinstance(had, list) else set()
    inputs = digest([ROOT / name for name in INSTALL_INPUTS])
    wire = digest(protos())
    if stamp.get("inputs") != inputs or not extras <= installed:
        wanted = sorted(installed | extras)
        say(f"installing Manta with {', '.join(wanted)} into {venv.name}; again only when pyproject.toml changes")
        began = time.monotonic()
        run(
            python_of(venv),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--editable",
            f".[{','.join(wanted)}]",
            *(("--editable", "./operator") if "dev" in wanted else ()),
        )
        say(f"installed in {time.monotonic() - began:.0f} s")
        stamp = {"inputs": inputs, "extras": wanted, "wire": wire}
        write_stamp(venv, stamp)
    elif stamp.get("wire") != wire or not generated_files_present():
        run(python_of(venv), ROOT / "hatch_build.py")
        write_stamp(venv, {**stamp, "wire": wire})


def generated_files_present() -> bool:
    """Whether each proto has its module: somebody may have cleaned ignored files away."""
    return all(
        (ROOT / "runtime" / path.relative_to(ROOT / "proto").parent / f"{path.stem}_pb2.py").exists()
        for path in protos()
    )


# --- commands ---


def setup(_: Sequence[str] = ()) -> None:
    """Install everything that checks and tests need."""
    ensure(VENV, {"dev"})


def quickstart(arguments: Sequence[str]) -> None:
    """Set up and run the example that shows what Manta does."""
    if sys.platform != "linux":  # before minutes of installing
        fail(
            "the embedded cluster needs Linux. To reach one from here, run this in a container, a virtual machine, WSL 2, "
            "or on a Linux machine by ssh"
        )
    ensure(VENV, {"numpy"})
    run(python_of(VENV), ROOT / "examples" / "quickstart.py", *arguments)


def static_checks() -> list[str]:
    """Run every check that runs no test, say how each went, show what failed, and return the names of those."""
    tools = VENV / "bin"
    checks: dict[str, list[str | Path]] = {
        "format": [tools / "ruff", "format", "--check", "--quiet", "."],
        "lint": [tools / "ruff", "check", "--quiet", "."],
        "protos": [tools / "buf", "lint"],
        "protos' format": [tools / "buf", "format", "--diff", "--exit-code"],
        "layers": [tools / "lint-imports", "--no-cache"],
        "types": [tools / "mypy"],
    }
    if RELEASED_PROTOS.exists():
        checks["protos' compatibility"] = [tools / "buf", "breaking", "--against", RELEASED_PROTOS]
    failed = []
    for name, command in checks.items():
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        say(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'} ({time.monotonic() - began:.1f} s)")
        if done.returncode != 0:
            print(done.stdout, flush=True)
            failed.append(name)
    return failed


def check(arguments: Sequence[str]) -> None:
    """Format, lint, types, layers, protos and the fast tests: what to run before each commit."""
    setup()
    failed = static_checks()
    status = pytest(["tests/unit", "tests/contracts", "tests/charts", "-m", "not slow", *SIDE_BY_SIDE, *arguments])
    if failed:
        fail(f"not clean: {', '.join(failed)} (shown above)")
    sys.exit(status)


def test(arguments: Sequence[str]) -> None:
    """Everything: static checks, then all tests; with arguments, only pytest with those. Ends with pytest's line."""
    setup()
    if arguments:
        sys.exit(pytest(arguments))
    failed = static_checks()
    if failed:
        say(f"not clean: {', '.join(failed)} (shown above); the tests run all the same, and this run counts as failed")
    # Half an hour, the first time; then seconds. Where one cannot be built, the tests that need it say why.
    if os.environ.get("MANTA_TEST_KUBE") != "cached":
        for program in ("tests.kube.harness.build", "tests.charts.programs", "tests.e2e.harness"):
            subprocess.run([python_of(VENV), "-m", program], cwd=ROOT, stdout=sys.stderr, check=False)
    outside = pytest([*OUTSIDE_TOO, "--through-gateway", *SIDE_BY_SIDE])
    # One control plane, and one cluster, serves all of its tests, so these are one after the other.
    # A node that is lost takes minutes to be missed: where all threads stand then is no news.
    kubernetes = pytest(["tests/kube", "tests/e2e", "-o", "faulthandler_timeout=900"])
    status = pytest(["tests", "--ignore=tests/kube", "--ignore=tests/e2e", *SIDE_BY_SIDE])
    sys.exit(status or outside or kubernetes or bool(failed))


def pytest(arguments: Sequence[str]) -> int:
    """Run tests and return pytest's status; finding no test is a failure there, as silence would look like success."""
    # Images for containers often ask Python to keep no bytecode. Tests start thousands of processes out of this checkout, and
    # each would compile all that it imports anew: half of what an embedded cluster costs.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command: list[str | Path] = [python_of(VENV), "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def bench(arguments: Sequence[str]) -> None:
    """Compare with Ray, Dask and a process pool, row by row; `--no-peers` runs Manta alone and installs none of them."""
    setup()
    if not {"--no-peers", "--list", "--help", "-h"} & set(arguments):
        # One interpreter for every system: the benchmark runs its cells with this environment once it exists.
        ensure(PEERS_VENV, {"peers"})
    run(python_of(VENV), "-m", "benchmarks", *arguments)


def kube(arguments: Sequence[str]) -> None:
    """Build Kubernetes' control plane and helm for tests, once; `./dev kube up` starts one to try things by hand."""
    setup()
    run(python_of(VENV), "-m", "tests.kube.harness.build")
    run(python_of(VENV), "-m", "tests.charts.programs")
    if arguments:
        # In place of this process: whoever ends it ends the control plane.
        os.chdir(ROOT)
        os.execv(python_of(VENV), [str(python_of(VENV)), "-m", "tests.kube.harness", *arguments])  # noqa: S606 - no shell is meant


def kind(arguments: Sequence[str]) -> None:
    """Build kind's node image, where no registry has it, and the images; `./dev kind up` has a cluster with them."""
    setup()
    os.chdir(ROOT)
    os.execv(python_of(VENV), [str(python_of(VENV)), "-m", "tests.e2e.harness", *arguments])  # noqa: S606 - no shell is meant


def soak(arguments: Sequence[str]) -> None:
    """Mixed work with random kills, ten minutes unless told otherwise: nothing lost, nothing leaked."""
    setup()
    run(python_of(VENV), "-m", "benchmarks.soak", *arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "quickstart": quickstart,
    "setup": setup,
    "check": check,
    "test": test,
    "bench": bench,
    "kube": kube,
    "kind": kind,
    "soak": soak,
}


def main() -> None:
    """Read the command line and run one command; what follows the command belongs to the program it runs."""
    name, *arguments = sys.argv[1:] or ["help"]
    if name in COMMANDS:
        COMMANDS[name](arguments)
        return
    print("usage: ./dev <command> [arguments]\n")
    for command, function in COMMANDS.items():
        print(f"  {command:<11} {(function.__doc__ or '').splitlines()[0]}")
    if name not in ("help", "-h", "--help"):
        fail(f"there is no command {name!r}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
