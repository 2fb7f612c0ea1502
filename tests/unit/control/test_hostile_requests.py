"""Whatever bytes arrive, control answers or refuses with a type, keeps its invariants, and lives."""

import asyncio

import pytest
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from manta.control.actors.limits import ActorLimits
from manta.control.nodes import NodeLimits
from manta.control.state import Limits
from tests.unit.control.handlers import METHODS, Control
from tests.unit.control.test_repeats import ALIVE, BEFORE, HASH, JOB, NODE

HOSTILE_TEXT = [
    "",
    "x",
    "../../etc/passwd",
    "a\0b",
    "line\nbreak",
    "<script>",
    "\u202e",
    "x" * 5000,
    "alive",
    "unix:/x",
]
IDS = [b"", b"x", NODE, JOB, ALIVE, HASH, b"\0" * 28, b"\xff" * 4, b"\xff" * 16, b"r" * 16, b"n" * 70_000]
NUMBERS = [0, 1, 2, -1, 10_000, 2**31 - 1, -(2**31), 2**32 - 1, 2**60, 2**63 - 1, -(2**63), 2**64 - 1]
BOUNDS = {
    F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    F.CPPTYPE_UINT32: (0, 2**32 - 1),
    F.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def values(field, depth):
    if field.cpp_type == F.CPPTYPE_MESSAGE:
        return messages(field.message_type, depth + 1)
    if field.cpp_type == F.CPPTYPE_STRING:
        return st.sampled_from(IDS if field.type == F.TYPE_BYTES else HOSTILE_TEXT)
    if field.cpp_type == F.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == F.CPPTYPE_ENUM:
        return st.sampled_from([0, 1, 2, 3, 5, 77])
    low, high = BOUNDS[field.cpp_type]
    return st.sampled_from([number for number in NUMBERS if low <= number <= high])


def messages(descriptor, depth=0):
    """Any message of a type: each field absent or hostile or plausible."""

    @st.composite
    def build(draw):
        message = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            if depth > 3 or not draw(st.integers(0, 3)):
                continue
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                key, value = field.message_type.fields
                for _ in range(draw(st.integers(0, 2))):
                    chosen = draw(values(value, depth))
                    getattr(message, field.name)[draw(values(key, depth))] = chosen
            elif field.is_repeated:
                getattr(message, field.name).extend(draw(st.lists(values(field, depth), max_size=3)))
            elif field.cpp_type == F.CPPTYPE_MESSAGE:
                getattr(message, field.name).CopyFrom(draw(values(field, depth)))
            else:
                setattr(message, field.name, draw(values(field, depth)))
        return message

    return build()


SMALL = Limits(
    nodes=NodeLimits(dead_kept=3), actors=ActorLimits(dead_kept=3), jobs_kept=3, kv_bytes=2000, requests_kept=20
)


@settings(max_examples=40)
@given(st.data())
def test_any_history_of_hostile_requests_is_answered_or_refused(data):
    names = data.draw(st.lists(st.sampled_from(sorted(METHODS)), min_size=1, max_size=12))
    requests = [(name, data.draw(messages(METHODS[name].input_type)).SerializeToString()) for name in names]

    async def main():
        control = Control(SMALL)
        await control.prepare(BEFORE)
        for name, request in requests:
            await asyncio.wait_for(control.call(name, request), 10)
            control.state.validate()

    asyncio.run(main())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_an_empty_request_is_answered_or_refused(name):
    async def main():
        control = Control()
        await asyncio.wait_for(control.call(name, b""), 10)
        control.state.validate()

    asyncio.run(main())


@pytest.mark.parametrize("name", sorted(name for name in METHODS if name.startswith(("Kv", "Register", "Create"))))
def test_a_mutating_request_without_an_id_is_refused_with_the_reason(name):
    async def main():
        control = Control()
        if "request_id" in METHODS[name].input_type.fields_by_name:
            reply = await control.call(name, b"")
            assert reply.startswith("INVALID_ARGUMENT")
        assert control.state.statistics()["requests_answered"] == 0

    asyncio.run(main())
