"""get, put, wait, cancel and kill with what they cannot take: the answer says what they do take."""

# mypy: ignore-errors
# The calls are wrong on purpose; a type checker finds most of them.

from __future__ import annotations

import pytest

import manta

pytestmark = pytest.mark.shared_cluster


@manta.remote
class A:
    def ping(self): ...


@manta.remote
def f(): ...


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: manta.get(1), ValueError, "ObjectRef"),
        (lambda: manta.get((manta.put(1),)), ValueError, "list"),
        (lambda: manta.get({manta.put(1)}), ValueError, "list"),
        (lambda: manta.get([1]), TypeError, "ObjectRef"),
        (lambda: manta.get(manta.put(1), timeout="1"), TypeError, "timeout"),
        (lambda: manta.get(manta.put(1), timeout=float("nan")), ValueError, "timeout"),
        (lambda: manta.get(manta.put(1), manta.put(2)), TypeError, "positional"),
        (lambda: manta.get(f), ValueError, "ObjectRef"),
        (lambda: manta.get(A.remote()), ValueError, "ObjectRef"),
        (lambda: manta.put(manta.put(1)), TypeError, "ObjectRef"),
        (lambda: manta.wait(manta.put(1)), TypeError, "list"),
        (lambda: manta.wait((manta.put(1),)), TypeError, "list"),
        (lambda: manta.wait([1]), TypeError, "ObjectRef"),
        (lambda: manta.wait([manta.put(1)] * 2), ValueError, "unique"),
        (lambda: manta.wait([manta.put(1)], num_returns=0), ValueError, "return 0"),
        (lambda: manta.wait([manta.put(1)], num_returns=2), ValueError, "num_returns"),
        (lambda: manta.wait([manta.put(1)], num_returns=1.5), TypeError, "num_returns takes a number of refs, got 1.5"),
        (lambda: manta.wait([manta.put(1)], num_returns="1"), TypeError, "num_returns takes a number of refs, got '1'"),
        (lambda: manta.wait([manta.put(1)], num_returns=None), TypeError, "num_returns takes a number of refs"),
        (lambda: A.remote(1), TypeError, "argument"),
        (lambda: A.remote(x=1), TypeError, "argument"),
        (lambda: manta.wait([manta.put(1)], timeout=-1), ValueError, "timeout"),
        (lambda: manta.wait([manta.put(1)], timeout="x"), TypeError, "timeout"),
        (lambda: manta.cancel(1), TypeError, "object ref"),
        (lambda: manta.cancel([manta.put(1)]), TypeError, "list"),
        (lambda: manta.cancel(A.remote()), TypeError, "kill"),
        (lambda: manta.kill(1), ValueError, "actor"),
        (lambda: manta.kill(manta.put(1)), ValueError, "cancel"),
        (lambda: manta.kill("name"), ValueError, "str"),
        (lambda: manta.get_actor(5), (TypeError, ValueError), "get_actor"),
        (lambda: manta.get_actor("nobody"), ValueError, "nobody"),
        (lambda: f(), TypeError, ".remote()"),
        (lambda: A(), TypeError, ".remote()"),
        (lambda: A.remote().ping(), TypeError, ".remote()"),
        (lambda: manta.remote(), (TypeError, AssertionError), "remote"),
        (lambda: manta.remote(5), TypeError, "function or a class"),
        (lambda: manta.ObjectRef(b"short"), ValueError, "28"),
    ],
)
def test_misuse_is_answered_with_the_right_use(call, kind, says: str):
    with pytest.raises(kind) as caught:
        call()
    assert says in str(caught.value), str(caught.value)


def test_an_attribute_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        manta.no_such_thing  # noqa: B018


def test_a_ref_is_not_a_number_and_says_so():
    with pytest.raises(TypeError, match="ObjectRef"):
        manta.put(1) + 1


def test_a_forgotten_get_in_a_loop_is_a_type_error_at_once():
    with pytest.raises(TypeError):
        for _ in manta.put([1, 2]):
            pass


def test_a_ref_that_nobody_made_is_an_error_and_no_hang():
    with pytest.raises(manta.exceptions.StaleRefError):
        manta.get(manta.ObjectRef.from_random(), timeout=20)
