"""What workers print reaches their driver; what people ask is answered."""

from __future__ import annotations

import os

from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as cpb
from tests.process.raylet.node import gone
from tests.support.waiting import wait_until


def test_a_printed_line_reaches_the_driver_with_its_source(raylet):
    driver = raylet.driver()
    lease = driver.lease()
    lease.tell("print before any mark")
    lease.tell("mark f")
    lease.tell("print in f")

    assert ("", "before any mark") == driver.line()
    assert ("f", "in f") == driver.line()
    driver.goodbye()


def test_a_driver_that_wants_no_lines_gets_none(raylet):
    driver = raylet.driver(job_config=pb.JobConfig().SerializeToString())
    driver.lease().tell("print quietly")

    driver.send(pb.Goodbye(finished=True))
    driver.read(pb.Farewell)

    assert not any(isinstance(message, pb.LogLines) for _, message, _ in driver.unread)
    driver.close()


def test_lines_of_one_job_do_not_reach_the_driver_of_another(raylet):
    one, two = raylet.driver(), raylet.driver()
    one.lease().tell("print from one")
    two.lease().tell("print from two")

    assert ("", "from one") == one.line()
    assert ("", "from two") == two.line()
    one.goodbye()
    two.goodbye()


def test_everything_printed_before_goodbye_comes_before_farewell(raylet):
    driver = raylet.driver()
    lease = driver.lease()
    for number in range(100):
        lease.tell(f"print {number}")

    driver.send(pb.Goodbye(finished=True))
    driver.read(pb.Farewell)

    lines = [line for _, message, _ in driver.unread if isinstance(message, pb.LogLines) for line in message.lines]
    assert [str(number) for number in range(100)] == lines
    driver.close()


def test_hostile_bytes_are_shown_not_obeyed(raylet):
    driver = raylet.driver()
    lease = driver.lease()
    lease.tell("write \xff\x00\x1b[2J\xfe")
    lease.tell("write \n")

    assert ("", "�\x00\x1b[2J�") == driver.line()
    driver.goodbye()


def test_the_last_words_of_a_dying_worker_arrive(raylet):
    driver = raylet.driver()
    lease = driver.lease()
    lease.tell("write without an end")
    lease.tell("signal 9")

    assert ("", "without an end") == driver.line()
    driver.goodbye()


def test_a_tool_sees_the_node_and_every_process_on_it(raylet):
    driver = raylet.driver()
    lease = driver.lease(name="f")
    with raylet.tool() as tool:
        status = tool.status()
        assert 20_000 == status["scheduler"]["total"]["CPU"]
        assert 10_000 == status["scheduler"]["available"]["CPU"]
        assert [("f", 1, 1)] == [
            (demand["name"], demand["wanted"], demand["held"]) for demand in status["scheduler"]["demands"]
        ]
        tool.send(pb.StackRequest(request_id=5))
        asked = driver.read(pb.StackRequest)
        driver.send(pb.StackReply(request_id=asked.request_id, pid=os.getpid(), title="driver", stacks=["there"]))
        titles = {}
        while not (reply := tool.read(pb.StackReply)).last:
            assert 5 == reply.request_id
            titles[reply.pid] = reply.title
    assert ("driver", "fake") == (titles[os.getpid()], titles[lease.pid])
    driver.goodbye()


def test_a_tool_may_only_ask(raylet):
    with raylet.tool() as tool:
        tool.send(pb.LeaseDemand(key=1, wanted=1))
        assert "a raylet takes no LeaseDemand from this process" in tool.read(pb.Refused).error.message


def test_a_driver_that_only_looks_has_no_job_and_may_only_ask(raylet):
    looking = raylet.driver(looks=True)
    assert looking.welcome.job_id == b"\xff" * 4
    question = cpb.ListJobsRequest().SerializeToString()
    looking.send(pb.ControlCall(request_id=1, method="ListJobs", payload=question, timeout_s=5))
    jobs = cpb.ListJobsResponse.FromString(looking.read(pb.ControlReply).payload).jobs
    assert looking.worker_id not in [job.driver.worker_id for job in jobs]
    looking.send(pb.LeaseDemand(key=1, wanted=1))
    assert "a raylet takes no LeaseDemand from this process" in looking.read(pb.Refused).error.message
    looking.close()


def test_empty_logs_of_dead_workers_are_removed(raylet):
    driver = raylet.driver()
    lease = driver.lease()
    name = f"worker-{lease.granted.worker.worker_id.hex()[:16]}"
    lease.tell("print something")
    lease.tell("exit 0")

    wait_until(lambda: gone(lease.pid), what="the worker is gone")
    wait_until(lambda: not (raylet.session / "logs" / f"{name}.err").exists(), what="the empty file is gone")
    assert "something\n" == (raylet.session / "logs" / f"{name}.out").read_text()
    driver.goodbye()
