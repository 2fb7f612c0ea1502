"""Calls to control wait for their answer over broken lines, and each ends exactly once."""

import asyncio

from manta.raylet.control_calls import ControlCalls
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.transport.convert import error_from_proto

MUCH = 1 << 20


class Told:
    """A table of calls, and how each ended."""

    def __init__(self):
        self.woken: list[str] = []
        self.calls = ControlCalls(lambda: self.woken.append("now"), lambda: self.woken.append("later"))
        self.errors: list[common.ErrorInfo] = []
        self.ends: list[tuple[str, str]] = []

    def add(self, name, payload=b"", timeout_s=60.0, **more):
        def done(reply):
            self.errors.append(reply.error)
            self.ends.append((name, reply.error.code if reply.HasField("error") else reply.payload.decode()))

        self.calls.add(name, payload, done, timeout_s, **more)

    def said(self, limit=MUCH):
        return [call.method for call in self.calls.take(limit)]


def refusal(number, code):
    return cpb.LineReply(number=number, error=common.ErrorInfo(code=code))


def run(test):
    async def main():
        await test(Told())

    asyncio.run(main())


def test_each_is_said_once_on_a_line_and_the_unanswered_again_on_the_next_in_order():
    async def test(told):
        for name in "abc":
            told.add(name)
        assert told.said() == ["a", "b", "c"]
        assert told.said() == []
        told.calls.answered(cpb.LineReply(number=2, payload=b"yes"))

        told.calls.new_line()
        told.add("d")

        assert told.said() == ["a", "c", "d"]
        assert told.ends == [("b", "yes")]

    run(test)


def test_a_call_ends_once_however_often_it_is_answered():
    async def test(told):
        told.add("a")
        for _ in range(2):
            told.calls.answered(cpb.LineReply(number=1, payload=b"yes"))
        told.calls.close()
        assert told.ends == [("a", "yes")]

    run(test)


def test_a_message_is_bounded_and_a_call_that_is_larger_alone_goes_alone():
    async def test(told):
        for name, size in (("a", 40), ("b", 40), ("c", 40), ("d", 500), ("e", 1)):
            told.add(name, bytes(size))
        told.woken.clear()
        assert [told.said(100) for _ in range(5)] == [["a", "b"], ["c"], ["d"], ["e"], []]
        assert told.woken == ["now"] * 3, "while something is left, more is said at once"

    run(test)


def test_a_call_whose_time_is_up_says_how_long_it_waited_and_is_not_said_again():
    async def test(told):
        told.add("a", timeout_s=0.0)
        await asyncio.sleep(0.001)
        assert told.ends == [("a", "RPC_TIMEOUT")]
        assert str(error_from_proto(told.errors[0])) == "control was away for 0 s"
        told.calls.new_line()
        assert told.said() == []

    run(test)


def test_what_a_stopping_control_refuses_is_said_again():
    """Whoever asked hears nothing of it."""

    async def test(told):
        told.add("a")
        told.said()
        told.calls.answered(refusal(1, "CONTROL_STOPPING"))
        async with asyncio.timeout(10):
            while not (said := told.said()):
                await asyncio.sleep(0)
        assert (said, told.ends) == (["a"], [])

    run(test)


def test_overload_is_an_answer_to_who_has_a_time_and_none_to_what_has_to_arrive():
    async def test(told):
        told.add("hurried")
        told.add("patient", timeout_s=None)
        told.said()
        for number in (1, 2):
            told.calls.answered(refusal(number, "LIMIT_EXCEEDED"))
        async with asyncio.timeout(10):
            while not (said := told.said()):
                await asyncio.sleep(0)
        assert (said, told.ends) == (["patient"], [("hurried", "LIMIT_EXCEEDED")])

    run(test)


def test_when_the_node_stops_everybody_who_waits_is_told():
    async def test(told):
        told.add("a")
        told.add("b", timeout_s=None)
        told.calls.close()
        assert told.ends == [("a", "LOCAL_RAYLET_DIED"), ("b", "LOCAL_RAYLET_DIED")]

    run(test)


def test_a_patient_call_waits_for_company_and_goes_with_whatever_is_said_first():
    async def test(told):
        told.add("patient", patient=True)
        assert told.woken == ["later"]
        told.add("hurried")
        assert told.woken == ["later", "now"]
        assert [(call.method, call.patient) for call in told.calls.take(MUCH)] == [
            ("patient", True),
            ("hurried", False),
        ]

    run(test)
