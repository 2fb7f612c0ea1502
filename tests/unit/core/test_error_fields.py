"""Errors as plain fields and back."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta import exceptions
from manta.core.errors import BY_CODE
from manta.core.errors.wire import ErrorFields, from_fields, to_fields
from tests.unit.core.test_errors import MADE

OURS = [error for error in MADE if not isinstance(error, exceptions.RayTaskError)]


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_every_error_comes_back_with_its_class_its_attributes_and_its_text(error):
    fields = to_fields(error)
    again = from_fields(fields)

    assert fields.code == error.code
    assert fields.message == str(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert {name: getattr(again, name) for name, _ in error._fields} == {
        name: getattr(error, name) for name, _ in error._fields
    }
    assert again.facts == error.facts
    assert to_fields(again) == fields
    assert type(pickle.loads(pickle.dumps(again))) is type(error)
    assert all(isinstance(text, str) for text in fields.fields.values())
    assert all(isinstance(blob, bytes) for blob in fields.blobs.values())


def test_facts_travel():
    assert from_fields(to_fields(exceptions.NodeDiedError("x").with_facts(node_id="ab"))).facts == {"node_id": "ab"}


def test_a_code_from_a_newer_version_keeps_its_code_and_its_text():
    error = from_fields(ErrorFields("FROM_THE_FUTURE", "it is too early", {"a": "b"}))

    assert type(error) is exceptions.MantaError
    assert (error.code, str(error)) == ("FROM_THE_FUTURE", "it is too early")
    assert to_fields(error).code == "FROM_THE_FUTURE"


def test_a_class_that_the_reader_lacks_is_read_as_its_nearest_base_with_its_own_code_and_text():
    """Control has refusals of its own; a driver reads them all, and acts on their codes."""

    class OutOfOrder(exceptions.NodeDiedError):
        code = "OUT_OF_ORDER"

        def _text(self):
            return f"{self.message} is out of order"

    fields = to_fields(OutOfOrder("node ab").with_facts(attempt=2))
    error = from_fields(fields)

    assert (fields.code, fields.message) == ("OUT_OF_ORDER", "node ab is out of order\n\tattempt: 2")
    assert type(error) is exceptions.NodeDiedError
    assert (error.code, error.message, str(error)) == ("OUT_OF_ORDER", "node ab", fields.message)
    assert to_fields(error) == fields
    assert str(pickle.loads(pickle.dumps(error))) == fields.message


def test_a_users_attribute_named_code_is_no_code():
    class Own(exceptions.RayError):
        code = 5

    assert to_fields(Own("x")) == ErrorFields("MANTA_ERROR", "x", {"text": "x"})


def test_any_other_exception_becomes_a_system_error():
    again = from_fields(to_fields(KeyError("k")))

    assert type(again) is exceptions.RaySystemError
    assert str(again) == "System error: KeyError: 'k'"


@given(
    st.sampled_from(sorted(BY_CODE)),
    st.text(max_size=20),
    st.dictionaries(
        st.sampled_from(
            ["rpc_code", "base", "task_id", "retry_after_s", "pid", "classes", "error.code", "text", "path", "reason"]
        ),
        st.text(max_size=30),
    ),
    st.dictionaries(st.sampled_from(["cause", "owner_address", "error.blobs.x"]), st.binary(max_size=30)),
)
def test_garbled_fields_give_an_error_not_a_crash(code, message, fields, blobs):
    def loads(_):
        raise ValueError("garbage")

    error = from_fields(ErrorFields(code, message, fields, blobs), loads)

    assert isinstance(error, exceptions.MantaError)
    assert isinstance(str(error), str)
    assert isinstance(repr(error), str)
    assert isinstance(to_fields(error).code, str)
