"""What of a detached actor's folders is left with control, and when nothing is."""

from __future__ import annotations

import base64
import hashlib
import json
from types import SimpleNamespace

import pytest

from manta.api import uploads
from manta.api.actor_classes import _create_with_folders
from manta.core.environment import PY_MODULES, WORKING_DIR
from manta.core.errors import MantaError
from manta.rpc.v1 import control_pb2 as ctl


class Refused(MantaError):
    """As control refuses."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Session:
    """A driver's: objects that it put, and a control that has blobs by hash."""

    def __init__(self, **objects):
        self.welcome = SimpleNamespace(job_id=b"job1")
        self.objects, self.blobs, self.created = objects, {}, []
        self.refuses = None

    def get_one(self, ref, deadline):
        return self.objects[ref]

    def control(self, method, request, reply):
        assert method == "PutFunction"
        if self.refuses:
            raise Refused(self.refuses)
        assert hashlib.sha256(request.blob).digest() == request.function_hash
        self.blobs[request.function_hash] = request.blob
        return reply()

    def create_actor(self, request, spec, table, args, kwargs):
        self.created.append(list(request.piece_hashes))
        if not set(request.piece_hashes) <= set(self.blobs):
            raise Refused("FUNCTION_NOT_FOUND")
        return "a handle"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(uploads, "KEPT_BYTES", 20)
    monkeypatch.setattr(uploads, "PIECE_BYTES", 4)
    monkeypatch.setattr(uploads, "rebuild", lambda oid, rest: bytes(oid).decode().strip())


def entry(name, size):
    written = base64.b64encode(name.encode().ljust(uploads.SIZE)).decode()
    return {"hash": f"hash of {name}", "ref": written, "size": size}


def environment(**folders):
    return json.dumps({"env_vars": {"A": "1", **{name: json.dumps(some) for name, some in folders.items()}}}).encode()


def test_its_folders_are_left_in_pieces_once_for_a_session():
    session = Session(code=b"0123456789", mod=b"0123abc")
    asked = environment(**{WORKING_DIR: [entry("code", 10)], PY_MODULES: [entry("mod", 7)]})
    found, hashes = uploads.kept(session, asked)
    assert [session.blobs[one] for one in hashes] == [b"0123", b"4567", b"89", b"0123", b"abc"]
    variables = json.loads(found)["env_vars"]
    (code,) = json.loads(variables[WORKING_DIR])
    assert code == {**entry("code", 10), "pieces": [one.hex() for one in hashes[:3]]}
    assert variables["A"] == "1"
    session.blobs.clear()
    assert uploads.kept(session, asked) == (found, hashes)
    assert not session.blobs
    assert uploads.kept(Session(), found) == (found, hashes), "a child's are its parent's"


def test_without_folders_and_with_ones_that_are_too_large_nothing_is_left():
    session = Session()
    for asked in (
        b"",
        environment(),
        environment(**{WORKING_DIR: [entry("code", 11)], PY_MODULES: [entry("mod", 10)]}),
    ):
        assert uploads.kept(session, asked) == (asked, [])


def test_a_detached_actor_whose_job_is_over_makes_others_all_the_same():
    session = Session(code=b"0123")
    asked = environment(**{WORKING_DIR: [entry("code", 4)]})
    session.refuses = "JOB_FINISHED"
    assert uploads.kept(session, asked) == (asked, [])
    session.refuses = "LIMIT_EXCEEDED"
    with pytest.raises(Refused):
        uploads.kept(session, asked)


def test_what_a_control_that_was_started_again_does_not_have_is_left_again():
    session = Session(code=b"0123")

    def create():
        request = ctl.CreateActorRequest(env_hash=environment(**{WORKING_DIR: [entry("code", 4)]}))
        assert _create_with_folders(session, request, None, None, (), {}) == "a handle"
        assert request.piece_hashes == list(session.blobs)

    create()
    session.blobs.clear()
    create()
    assert len(session.created) == 3
