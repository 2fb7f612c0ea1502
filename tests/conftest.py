"""Rules for all tests: a mark per folder, Hypothesis profiles, and no leaks from tests that start processes."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.process.outside import why_not
from tests.support import leaks

TESTS = Path(__file__).resolve().parent
FOLDERS = ("unit", "sim", "process", "contracts", "kube", "e2e", "charts")

# A test that needs luck is wrong, so examples do not depend on the day; `thorough` looks for new ones (soak, by hand).
hypothesis.settings.register_profile("standard", deadline=None, derandomize=True, database=None, max_examples=100)
hypothesis.settings.register_profile("quick", parent=hypothesis.settings.get_profile("standard"), max_examples=20)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "standard"))


# Read by tests.process.implementation, which conftests further down import before pytest has parsed its options.
if "--through-gateway" in sys.argv:
    os.environ["MANTA_TEST_GATEWAY"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """See tests/process/README.md."""
    parser.addoption(
        "--through-gateway",
        action="store_true",
        help="drivers of the process tests join their clusters through a gateway",
    )


def pytest_configure() -> None:
    """Tests send SIGINT; a shell that starts pytest in the background has it ignored, here and in all that starts here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder, so that `-m unit` and the path agree."""
    for item in items:
        parts = item.path.relative_to(TESTS).parts if item.path.is_relative_to(TESTS) else ()
        if parts and parts[0] in FOLDERS:
            item.add_marker(parts[0])
        why = why_not(item.nodeid) if "MANTA_TEST_GATEWAY" in os.environ else None
        if why is not None:
            item.add_marker(pytest.mark.skip(reason=f"not through a gateway: {why}"))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is there before the first test is no test's garbage: thousands of collected tests and all that they import.

    Each process test has its leftovers collected before it looks for leaks, which takes a quarter of a second where all of
    that is gone through too, and a millisecond where it is not.
    """
    gc.collect()
    gc.freeze()


def leak_kinds(node: pytest.Item | pytest.Collector) -> list[str]:
    """What may not be left: everything, but for the kinds named by `may_leak` marks."""
    allowed = {kind for mark in node.iter_markers("may_leak") for kind in mark.args}
    unknown = allowed - set(leaks.KINDS)
    if unknown:
        raise pytest.UsageError(f"may_leak({', '.join(sorted(unknown))}): kinds are {', '.join(leaks.KINDS)}")
    return [kind for kind in leaks.KINDS if kind not in allowed]


@pytest.fixture(autouse=True, scope="module")
def module_sandbox(request: pytest.FixtureRequest) -> Iterator[leaks.Sandbox | None]:
    """For modules marked `shared_cluster`: one sandbox around all their tests."""
    node = request.node
    if node.get_closest_marker("shared_cluster") and TESTS / "process" in node.path.parents:
        with leaks.no_leaks(leak_kinds(node)) as sandbox:
            yield sandbox
    else:
        yield None


@pytest.fixture(autouse=True, scope="module")
def settings_of_the_run() -> Iterator[None]:
    """Every module begins with the settings that the run began with: what one leaves must not be another's failure."""
    before = _settings()
    yield
    for name in _settings().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("MANTA_", "RAY_"))}


@pytest.fixture(autouse=True)
def sandbox(request: pytest.FixtureRequest, module_sandbox: leaks.Sandbox | None) -> Iterator[leaks.Sandbox | None]:
    """The private surroundings of a process test; whatever is left in them afterwards fails it, by name."""
    node = request.node
    if module_sandbox is not None or TESTS / "process" not in node.path.parents:
        yield module_sandbox
    else:
        with leaks.no_leaks(leak_kinds(node)) as own:
            yield own
