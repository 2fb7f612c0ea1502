import asyncio
import os
import stat

import grpc
import pytest

from manta.aio.backoff import Backoff
from manta.aio.deadlines import Deadline
from manta.core.errors import (
    BY_CODE,
    ActorAlreadyExistsError,
    AuthenticationError,
    MantaError,
    OverloadedError,
    RpcError,
    RpcTimeoutError,
)
from manta.transport import auth, status
from manta.transport import grpc as wire
from manta.transport.convert import error_to_proto


class Aborted(Exception):
    pass


class Context:
    """Takes what a call was ended with."""

    async def abort(self, code, details, trailing_metadata):
        self.error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing_metadata), details)
        raise Aborted


def sent(error):
    """The RpcError that the other side sees."""
    context = Context()
    with pytest.raises(Aborted):
        asyncio.run(status.abort(context, error))
    return context.error


def without_info(code, text="text"):
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), text)


class OnlyHereError(MantaError):
    code = "NODE_NOT_FOUND"


def test_an_error_arrives_as_itself():
    error = sent(ActorAlreadyExistsError("the name 'x' is taken"))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    back = status.error_from(error)
    assert type(back) is ActorAlreadyExistsError
    assert str(back) == "the name 'x' is taken"


def test_an_error_that_only_the_sender_knows_keeps_code_and_text():
    error = sent(OnlyHereError("node 12 is not registered"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    info = status.info_from(error)
    assert (info.code, info.message) == ("NODE_NOT_FOUND", "node 12 is not registered")
    assert str(status.error_from(error)).startswith("node 12 is not registered")


def test_every_code_of_the_table_is_somebodys_and_none_means_success():
    assert grpc.StatusCode.OK not in status.STATUS_BY_CODE.values()
    assert all(code == code.upper() for code in status.STATUS_BY_CODE)


def test_what_is_too_long_for_metadata_is_cut_not_refused():
    error = sent(OnlyHereError("x" * 1_000_000))
    assert len(error.details()) == status.DETAIL_LIMIT
    assert status.info_from(error).code == "NODE_NOT_FOUND"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, RpcTimeoutError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError),
        (grpc.StatusCode.UNAUTHENTICATED, AuthenticationError),
        (grpc.StatusCode.UNAVAILABLE, RpcError),
        (grpc.StatusCode.INTERNAL, RpcError),
    ],
)
def test_a_status_without_details_becomes_the_error_it_means(code, kind):
    assert type(status.error_from(without_info(code))) is kind


def test_garbage_in_the_metadata_is_not_believed():
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata((status.METADATA_KEY, b"\xff\xff garbage")),
        "gone",
    )
    assert type(status.error_from(error)) is RpcError


def test_defects_are_internal():
    assert status.status_of(KeyError("x")) is grpc.StatusCode.INTERNAL
    assert "SYSTEM_ERROR" in BY_CODE
    assert error_to_proto(KeyError("x")).code == "SYSTEM_ERROR"


# ---- calls


def answers(*outcomes):
    """A stub's method that gives these, one per call."""
    left = list(outcomes)
    asked = []

    async def method(request, timeout, metadata):  # noqa: ASYNC109 - as the stubs have it
        asked.append((request, timeout))
        outcome = left.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    method.asked = asked
    return method


NO_WAIT = Backoff(0.0, 1.0, 0.0, 0.0)


def test_a_call_is_repeated_with_the_same_request_until_it_is_answered():
    method = answers(
        without_info(grpc.StatusCode.UNAVAILABLE), without_info(grpc.StatusCode.DEADLINE_EXCEEDED), "answer"
    )
    result = asyncio.run(wire.call(method, "request", timeout_s=3.0, attempts=5, backoff=NO_WAIT))
    assert result == "answer"
    assert method.asked == [("request", 3.0)] * 3


def test_a_refusal_is_not_repeated():
    method = answers(sent(ActorAlreadyExistsError("taken")))
    with pytest.raises(ActorAlreadyExistsError):
        asyncio.run(wire.call(method, "request", timeout_s=3.0, attempts=5, backoff=NO_WAIT))
    assert len(method.asked) == 1


def test_one_attempt_is_the_rule_as_repeating_must_be_asked_for():
    method = answers(without_info(grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(RpcError):
        asyncio.run(wire.call(method, "request", timeout_s=3.0))


def test_no_attempt_goes_beyond_the_deadline():
    async def main():
        method = answers(without_info(grpc.StatusCode.UNAVAILABLE), "too late")
        deadline = Deadline.after(1.0, asyncio.get_running_loop().time())
        with pytest.raises(RpcError):
            await wire.call(
                method, "request", timeout_s=60.0, deadline=deadline, attempts=9, backoff=Backoff(2.0, 1.0, 2.0, 0.0)
            )
        ((_, timeout),) = method.asked
        assert timeout <= 1.0

    asyncio.run(main())


# ---- tokens


def test_a_token_is_256_bits_in_a_file_that_only_its_owner_reads(tmp_path):
    path = os.fspath(tmp_path / "token")
    token = auth.new_token()
    auth.write_token(path, token)
    assert (len(bytes.fromhex(token)), auth.read_token(path)) == (32, token)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path) == ["token"]


def test_a_token_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "token"
    auth.write_token(os.fspath(path), auth.new_token())
    path.chmod(0o644)
    with pytest.raises(AuthenticationError, match="chmod 600"):
        auth.read_token(os.fspath(path))


@pytest.mark.parametrize("content", ["", "short", "z" * 64, "a" * 65, "a" * 10_000])
def test_a_file_without_a_token_is_refused(tmp_path, content):
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(AuthenticationError, match="holds no token"):
        auth.read_token(os.fspath(path))


def test_a_token_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AuthenticationError, match="cannot be read: No such file"):
        auth.read_token(os.fspath(tmp_path / "nothing"))


def test_any_valid_token_lets_in_and_nothing_else_does():
    old, new = auth.new_token(), auth.new_token()
    assert auth.accepts((old, new), old)
    assert auth.accepts((old, new), new)
    for wrong in ("", old[:-1], old + "0", auth.new_token(), "\udcff\u20ac"):
        assert not auth.accepts((old, new), wrong)
    assert not auth.accepts((), "")


def test_tokens_are_changed_in_a_running_server_with_both_valid_meanwhile(tmp_path):
    path, old, new = os.fspath(tmp_path / "token"), auth.new_token(), auth.new_token()
    auth.write_token(path, old)
    valid = auth.JoinTokens(path)
    assert valid() == (old,)
    auth.write_private(path, f"{new}\n{old}\n".encode())
    assert valid() == (new, old)
    assert auth.read_token(path) == new
    auth.write_private(path, b"half")
    assert valid() == (new, old), "what is no token file changes nothing"
    os.unlink(path)
    assert valid() == (new, old)
    auth.write_private(path, f"{new}\n".encode())
    assert valid() == (new,)


def test_the_interceptor_asks_everybody():
    async def main():
        token = auth.new_token()
        interceptor = wire.TokenInterceptor((token,))
        handler = grpc.unary_unary_rpc_method_handler(lambda request, context: None)

        async def continuation(details):
            return handler

        async def passed(metadata):
            details = type("Details", (), {"invocation_metadata": metadata, "method": "/x"})()
            return await interceptor.intercept_service(continuation, details) is handler

        assert await passed(auth.metadata(token))
        assert await passed((("other", "x"), *auth.metadata(token)))
        for metadata in (None, (), auth.metadata(auth.new_token()), (("authorization", token),)):
            assert not await passed(metadata)

    asyncio.run(main())
