"""What user code raised becomes fields, whatever it is; and small results stay inside a frame only together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from manta.client.running import Running
from manta.client.values import INLINE_BYTES
from manta.rpc.v1 import channel_pb2 as pb
from manta.serde import dump_exception, serialize
from manta.worker import raised
from manta.worker.calls import WorkerTemplate, nth
from manta.worker.results import INLINE_TOGETHER_BYTES, Results

OID = b"t" * 24 + b"\1\0\0\0"
SESSION: Any = SimpleNamespace(actor_host=None, welcome=SimpleNamespace(node_ip="127.0.0.1", node_id=b"n"))


def fail(error: BaseException, *, cancelled: bool = False, **definition: Any) -> pb.ResultExtra:
    now = Running(OID, "f", 0, None)
    now.cancelled = cancelled
    return raised.failed(SESSION, WorkerTemplate(pb.DefineTemplate(name="f", **definition)), error, now)


def exits(*_: object) -> str:
    raise SystemExit(3)


class Exits(Exception):
    __str__ = exits


class LeavesWhenPickled(Exception):
    def __reduce__(self):
        raise KeyboardInterrupt


def test_an_exception_that_exits_while_it_is_described_fails_its_call_only():
    failure = fail(Exits("x")).failure

    assert failure.kind == pb.FAILURE_KIND_APPLICATION
    assert failure.classes[0].endswith("Exits")
    assert "which cannot be described: that raised SystemExit" in failure.traceback


def test_the_interrupt_of_a_cancel_that_lands_in_the_description_is_the_cancel():
    """The task had raised already, and its owner wants to hear that it was cancelled."""
    assert fail(LeavesWhenPickled("x"), cancelled=True).failure.kind == pb.FAILURE_KIND_CANCELLED
    assert fail(LeavesWhenPickled("x")).failure.kind == pb.FAILURE_KIND_APPLICATION


def test_a_keyboard_interrupt_is_a_cancel_only_if_somebody_cancelled():
    assert fail(KeyboardInterrupt(), cancelled=True).failure.kind == pb.FAILURE_KIND_CANCELLED
    assert fail(KeyboardInterrupt()).failure.kind == pb.FAILURE_KIND_APPLICATION


def test_an_exception_too_large_to_travel_is_replaced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(raised, "MAX_EXCEPTION_BYTES", 1000)

    failure = fail(ValueError("x", b"y" * 1000)).failure

    assert not failure.cause
    assert "carries at most 1000" in failure.error.message
    assert fail(ValueError("x", b"y" * 10)).failure.cause


def test_retry_exceptions_that_cannot_be_loaded_here_are_no_reason_to_die(caplog: pytest.LogCaptureFixture):
    failure = fail(ValueError("x"), retry_exceptions=b"\x80\x05cnowhere\nNothing\n.").failure

    assert not failure.retry
    assert "retry_exceptions of f are of no use here" in caplog.text


def test_listed_exceptions_are_worth_a_retry():
    listed = b"".join(serialize((ValueError,)).chunks)

    assert fail(UnicodeError("x"), retry_exceptions=listed).failure.retry
    assert not fail(KeyError("x"), retry_exceptions=listed).failure.retry
    assert fail(KeyError("x"), retry_any=True).failure.retry
    assert not fail(GeneratorExit(), retry_any=True).failure.retry
    assert dump_exception(ValueError("x"))


def test_results_ride_in_the_frame_while_they_fit_it_together():
    """Each is small; what comes after the limit goes to the store, and smaller ones may still ride."""
    stored: list[bytes] = []
    session = SimpleNamespace(
        store=SimpleNamespace(create=lambda oid, serialized, owner: stored.append(oid), node_id=b"n"),
        welcome=SESSION.welcome,
    )
    link = SimpleNamespace(worker_id=b"w", node_id=b"n")
    sizes = [INLINE_BYTES - 100] * (INLINE_TOGETHER_BYTES // INLINE_BYTES + 10) + [10]
    values = [serialize(b"x" * size) for size in sizes]

    extra = Results(session, None).special(link, OID, values, ())

    riding = [returned for returned in extra.returns if not returned.size]
    assert sum(len(returned.value) for returned in riding) <= INLINE_TOGETHER_BYTES
    assert stored == [nth(OID, place) for place, returned in enumerate(extra.returns) if returned.size]
    assert 9 <= len(stored) <= 10
    assert not extra.returns[-1].size
    assert extra.ByteSize() < INLINE_TOGETHER_BYTES + (1 << 16)
