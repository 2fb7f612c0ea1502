"""Refs and actor handles inside a value are written as their owner says, and listed."""

import pytest

from manta import serde
from manta.core.errors import StaleRefError
from manta.serde import pickler


class Ref:
    def __init__(self, name):
        self.name = name


class Handle(Ref):
    pass


def load_ref(name):
    return f"loaded {name}"


def load_handle(name):
    return f"handle of {name}"


@pytest.fixture(autouse=True)
def hooks():
    before = (pickler._ref_type, pickler._reduce_ref, pickler._handle_type, pickler._reduce_handle)
    serde.install_hooks(Ref, lambda ref: (load_ref, (ref.name,)), Handle, lambda handle: (load_handle, (handle.name,)))
    yield
    pickler._ref_type, pickler._reduce_ref, pickler._handle_type, pickler._reduce_handle = before


def test_refs_are_found_wherever_they_are_once_each_and_in_order():
    class Box:
        inside = None

    box, inside, first, second = Box(), Ref("c"), Ref("a"), Ref("b")
    box.inside = inside
    serialized = serde.serialize({"list": [first, (second, first)], "box": box, "plain": 1})

    assert serialized.refs == (first, second, inside)
    assert serialized.handles == ()
    back = serde.deserialize(serde.to_bytes(serialized))
    assert back["list"] == ["loaded a", ("loaded b", "loaded a")]
    assert back["box"].inside == "loaded c"


def test_handles_are_listed_apart():
    handle, ref = Handle("h"), Ref("r")
    serialized = serde.serialize([handle, ref])

    assert (serialized.refs, serialized.handles) == ((ref,), (handle,))
    assert serde.deserialize(serde.to_bytes(serialized)) == ["handle of h", "loaded r"]


def test_refs_of_large_values_are_found_too_and_the_next_value_has_none():
    refs = [Ref(str(number)) for number in range(10_000)]
    serialized = serde.serialize(refs)

    assert list(serialized.refs) == refs
    assert serde.deserialize(serde.to_bytes(serialized))[-1] == "loaded 9999"
    assert serde.serialize([1]).refs == ()


def test_refs_captured_by_a_function_are_listed():
    ref = Ref("captured")

    def use():
        return ref

    blob = serde.dump_function(use)

    assert list(blob.refs) == [ref]
    assert serde.load_function(blob.blob)() == "loaded captured"


def test_looking_for_a_culprit_reduces_no_ref_again():
    """A reduce may count a borrow; a search for an error may not."""
    import threading

    reduced = []

    def reduce(ref):
        reduced.append(ref)
        return load_ref, (ref.name,)

    serde.install_hooks(Ref, reduce)
    ref = Ref("a")
    with pytest.raises(TypeError, match="lock"):
        serde.serialize([ref, {"deep": [ref, threading.Lock()]}])

    assert reduced == [ref]


def test_an_error_of_ours_in_a_hook_is_raised_as_it_is():
    """A ref of an earlier cluster is refused as such, not as something that can't be pickled."""

    def refuse(ref):
        raise StaleRefError("ab" * 28)

    serde.install_hooks(Ref, refuse)
    ref = Ref("a")
    with pytest.raises(StaleRefError):
        serde.serialize([ref])
    with pytest.raises(StaleRefError):
        serde.dump_function(lambda ref=ref: ref)
