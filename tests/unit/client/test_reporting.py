"""What a process tells of its tasks, and how much of it at a time."""

from types import SimpleNamespace

from manta.client import reporting
from manta.client.reporting import Reporter
from manta.client.running import Running
from manta.raylet.tasks import is_sound
from manta.rpc.v1 import channel_pb2 as pb


class _Session:
    def __init__(self):
        self.sent = []
        self.actor_host = None
        self.now = lambda: 0.0
        self.pump = SimpleNamespace(schedule=lambda due: None)
        self.raylet_send = self.sent.append


def _ran(number: int) -> Running:
    return Running(number.to_bytes(8, "little") + bytes(16) + b"\1\0\0\0", "f", 0, None)


def test_a_report_waits_for_company_and_then_tells_all():
    session = _Session()
    reporter = Reporter(session)
    reporter.ended.append((_ran(1), 5, 0))

    assert 11.0 == reporter.tick(10.0)
    reporter.ended.append((_ran(2), 100_000, 0))
    assert 11.0 == reporter.tick(10.5)
    assert reporter.tick(11.0) is None

    [report] = session.sent
    assert is_sound(report)
    assert (2, 100_005, 0) == (len(report.state), report.execution_us, report.failed)
    assert 1 == report.execution[2], "5 us are below 4**2"
    assert 1 == report.execution[9], "100 ms are below 4**9 us"


def test_of_too_many_the_last_are_told_and_those_that_failed(monkeypatch):
    monkeypatch.setattr(reporting, "MOST_TOLD", 3)
    session = _Session()
    reporter = Reporter(session)
    for number in range(20):
        reporter.ended.append((_ran(number), 1, 0))
    for number in (4, 5):
        reporter.raised(_ran(number).oid, pb.TaskFailure(kind=pb.FAILURE_KIND_APPLICATION, message="no"))
    reporter.flush()

    [report] = session.sent
    told = [int.from_bytes(report.ids[24 * at : 24 * at + 8], "little") for at in range(len(report.state))]
    assert [4, 5, 17, 18, 19] == told
    assert (15, 20, 2) == (report.untold, sum(report.execution), report.failed)
    assert [0, 1] == [trouble.index for trouble in report.troubles]


def test_what_its_worker_tells_is_not_told_by_the_owner_too():
    session = _Session()
    reporter = Reporter(session)
    reporter.lost(_ran(1).oid, "f", 0, pb.TaskFailure(kind=pb.FAILURE_KIND_APPLICATION))
    assert not reporter.dirty

    reporter.lost(_ran(1).oid, "f", 2, pb.TaskFailure(kind=pb.FAILURE_KIND_CANCELLED, message="stop"))
    assert reporter.dirty
    reporter.flush()

    [report] = session.sent
    assert [("TASK_CANCELLED", "stop")] == [(one.type, one.message) for one in report.troubles]
    assert ([pb.TASK_STATE_FAILED], [2], [0]) == (list(report.state), list(report.attempt), list(report.started_us))
