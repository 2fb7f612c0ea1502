"""Random messages of any class, made by reading its descriptor: a new frame or field is covered the day it is written."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from manta.rpc.v1 import channel_pb2 as pb

#: Every frame type: field number in the table, message class.
FRAMES = {
    field.number: getattr(pb, field.message_type.name)
    for field in pb.Frame.DESCRIPTOR.oneofs_by_name["kind"].fields
    if field.message_type is not None
}

_F = FieldDescriptor
_SCALARS = {
    _F.CPPTYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    _F.CPPTYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    _F.CPPTYPE_UINT32: st.integers(0, (1 << 32) - 1),
    _F.CPPTYPE_UINT64: st.integers(0, (1 << 64) - 1),
    _F.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
    _F.CPPTYPE_FLOAT: st.floats(allow_nan=False, width=32),
    _F.CPPTYPE_BOOL: st.booleans(),
}


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy:
    if field.cpp_type == _F.CPPTYPE_MESSAGE:
        return messages(field.message_type, depth - 1)
    if field.cpp_type == _F.CPPTYPE_STRING:
        # Python's text may hold lone surrogates, the wire's may not.
        if field.type == _F.TYPE_BYTES:
            return st.binary(max_size=40)
        return st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
    if field.cpp_type == _F.CPPTYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return _SCALARS[field.cpp_type]


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 3) -> Message:
    """A message of that type, with any subset of its fields set."""
    message = _class_of(descriptor)()
    for field in descriptor.fields:
        if (field.cpp_type == _F.CPPTYPE_MESSAGE and depth <= 0) or not draw(st.booleans()):
            continue
        if _is_map(field):
            key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
            if value.cpp_type == _F.CPPTYPE_MESSAGE:
                continue
            getattr(message, field.name).update(draw(st.dictionaries(_value(key, 0), _value(value, 0), max_size=3)))
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(_value(field, depth), max_size=3)))
        elif field.cpp_type == _F.CPPTYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(draw(_value(field, depth)))
        else:
            setattr(message, field.name, draw(_value(field, depth)))
    return message


def _class_of(descriptor: Descriptor) -> type[Message]:
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(descriptor)


def frames() -> st.SearchStrategy[Message]:
    """Any message that may travel."""
    return st.sampled_from(sorted(FRAMES)).flatmap(lambda number: messages(FRAMES[number].DESCRIPTOR))
