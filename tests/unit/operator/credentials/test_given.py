"""Authorities and tokens that the user brings: they count as they are, and what is wrong with them is said."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from manta.transport.certificates import Role, make_authority, make_leaf
from manta_operator.builders import labels
from manta_operator.credentials.certificate import signed_by
from manta_operator.credentials.given import Wrong
from tests.unit.operator.credentials.world import DAY, SCHEDULE, START, World, names_in, settled

DATE = datetime.datetime.fromtimestamp(START, datetime.UTC)
TOKENS = {role: str(number) * 64 for number, role in enumerate(("viewer", "submitter", "admin", "join"), 1)}


def given_root(days=3650, key=None, **changes):
    """An authority as users have them: of another tool, with a name of its own."""
    key = key or ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Team's own")])
    issuer = changes.get("issuer", name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(changes.get("begin", DATE - datetime.timedelta(days=1)))
        .not_valid_after(DATE + datetime.timedelta(days=days))
    )
    extensions = {
        "ca": x509.BasicConstraints(ca=True, path_length=None),
        "usage": x509.KeyUsage(False, False, False, False, False, True, True, False, False),
        "identifier": x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
    }
    for name, extension in (extensions | changes.get("extensions", {})).items():
        if extension is not None:
            builder = builder.add_extension(extension, critical=changes.get("critical", name == "ca"))
    signer = changes.get("signer", key)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    certificate = builder.sign(signer, algorithm)
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        changes.get("encryption", serialization.NoEncryption()),
    )


@pytest.mark.parametrize("key", [None, rsa.generate_private_key(65537, 2048)], ids=["elliptic", "RSA"])
def test_an_authority_of_the_users_signs_everything(key):
    """Without a copy of it anywhere but in the Secret that only the operator reads."""
    certificate, private = given_root(key=key)
    world = World(("tls.existingSecret", "mine"))
    world.put("mine", {"tls.crt": certificate, "tls.key": private})
    decision = world.settle()
    assert (decision.problems, decision.ready) == ((), True)
    assert world.files("demo-head")["ca.crt"] == certificate
    for role in Role:
        assert signed_by(world.files("demo-head")[f"{role}.crt"], certificate)


def test_another_authority_in_the_users_secret_is_a_rotation():
    """And so is naming one, or naming none any more; each with both trusted in between."""
    world = settled()
    seen = [world.files("demo-head")["ca.crt"]]
    mine = [given_root(), given_root()]
    for existing, pair in (("mine", mine[0]), ("mine", mine[1]), ("", None)):
        if pair:
            world.put("mine", {"tls.crt": pair[0], "tls.key": pair[1]})
        world.raw["spec"]["tls"] = {"existingSecret": existing} if existing else {}
        for _ in range(5):
            world.settle()
            bundle = world.files("demo-head")["ca.crt"]
            if bundle != seen[-1]:
                seen.append(bundle)
            world.now += SCHEDULE.asked_s
    first, last = seen[0], seen[-1]
    one, two = mine[0][0], mine[1][0]
    assert seen == [first, first + one, one + first, one, one + two, two + one, two, two + last, last + two, last]


def test_a_word_does_not_replace_the_users_authority():
    """It is changed where it is."""
    certificate, private = given_root()
    world = World(("tls.existingSecret", "mine"))
    world.put("mine", {"tls.crt": certificate, "tls.key": private})
    world.settle()
    world.annotate(labels.ROTATE, "1")
    world.settle()
    assert world.files("demo-head")["ca.crt"] == certificate


def files_of(**changes):
    """A Secret's files with one."""
    return dict(zip(("tls.crt", "tls.key"), given_root(**changes), strict=True))


OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
LEAF = make_leaf(make_authority("c", now=DATE), Role.WORKER, "c", now=DATE)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "tls.crt is missing; it must hold an authority in tls.crt and its key in tls.key, as PEM"),
        ({"tls.crt": given_root()[0]}, "tls.key is missing"),
        (dict(zip(("tls.crt", "tls.key"), (b"x", b"y"), strict=True)), "tls.crt must hold exactly one certificate"),
        ({"tls.crt": given_root()[0] + given_root()[0], "tls.key": b"x"}, "tls.crt must hold exactly one certificate"),
        ({"tls.crt": LEAF.certificate, "tls.key": LEAF.key}, "tls.crt is no authority"),
        (files_of(extensions={"ca": None}), "tls.crt is no authority: it may not sign others (it has no"),
        (files_of(extensions={"ca": x509.BasicConstraints(False, None)}), "tls.crt is no authority: it may not sign"),
        (files_of(critical=False), "tls.crt is no authority: it may not sign others (its basic constraint must be"),
        (files_of(extensions={"usage": None}), "tls.crt has no key usage: Python 3.13"),
        (files_of(extensions={"identifier": None}), "tls.crt has no subject key identifier: Python 3.13"),
        (
            files_of(extensions={"usage": x509.KeyUsage(True, False, False, False, False, False, False, False, False)}),
            "tls.crt is no authority: its key usage must have certSign",
        ),
        (
            files_of(issuer=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Root")]), signer=OTHER_KEY),
            "tls.crt was signed by another authority (CN=Root)",
        ),
        (
            files_of(begin=DATE - datetime.timedelta(9), days=-1),
            "tls.crt is valid from 2027-01-06",
        ),
        ({"tls.crt": given_root()[0], "tls.key": given_root()[1]}, "tls.key is not the key of tls.crt"),
        ({"tls.crt": given_root()[0], "tls.key": b"x"}, "tls.key must hold a private key, as PEM"),
        (
            files_of(encryption=serialization.BestAvailableEncryption(b"x")),
            "tls.key is encrypted",
        ),
        (
            files_of(key=ed25519.Ed25519PrivateKey.generate()),
            "tls.key must be an RSA or an elliptic curve's key",
        ),
    ],
)
def test_what_is_wrong_with_an_authority_of_the_users_is_said(files, says):
    """Nothing is made before it is right; what was made before goes on."""
    world = World(("tls.existingSecret", "mine"))
    world.put("mine", files)
    decision = world.decide()
    [problem] = decision.problems
    assert (problem.wrong, problem.secret) == (Wrong.INVALID, "mine")
    assert str(problem).startswith(f"Secret mine: {says}")
    assert (decision.creates, decision.ready) == ((), False)

    running = settled()
    running.raw["spec"]["tls"] = {"existingSecret": "mine"}
    running.put("mine", files)
    before = running.bytes()
    assert [one.says for one in running.settle().problems] == [problem.says]
    assert running.decide().ready
    assert running.bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ("tls.existingSecret", "mine"),
            "it does not exist, and spec.tls.existingSecret names it: create it, with",
        ),
        (
            ("auth.existingSecret", "mine"),
            "it does not exist, and spec.auth.existingSecret names it: create it, with",
        ),
    ],
)
def test_a_missing_secret_is_said(change, says):
    """With the field that names it, and what it should hold."""
    decision = World(change).decide()
    [problem] = decision.problems
    assert (problem.wrong, problem.secret) == (Wrong.MISSING, "mine")
    assert problem.says.startswith(says)
    assert (decision.creates, decision.ready) == ((), False)


def test_an_authority_of_the_users_that_ends_is_said_a_month_before():
    """Its certificates end with it, and are not made anew again and again for nothing."""
    certificate, private = given_root(days=100)
    world = World(("tls.existingSecret", "mine"))
    world.put("mine", {"tls.crt": certificate, "tls.key": private})
    assert world.settle().again_at == START + 70 * DAY
    writes = len(world.writes)
    for day in range(70, 100):
        world.now = START + day * DAY
        [problem] = world.settle().problems
        assert problem.wrong is Wrong.EXPIRING
        assert "ends at 2027-04-25" in problem.says
    assert len(world.writes) == writes


def test_an_authority_of_the_users_that_has_ended_signs_nothing():
    """What is there stays; another name, or a lost Secret, has to wait for another authority."""
    certificate, private = given_root(days=100)
    world = World(("tls.existingSecret", "mine"))
    world.put("mine", {"tls.crt": certificate, "tls.key": private})
    world.settle()
    before = world.bytes()
    world.now = START + 101 * DAY
    world.raw["spec"]["tls"]["extraSANs"] = ["gateway.example.org"]
    [problem] = world.settle().problems
    assert "tls.crt is valid from" in problem.says
    assert world.bytes() == before
    del world.secrets["demo-join"]
    assert not world.settle().ready
    certificate, private = given_root(days=1000)
    world.edit("mine", **{"tls.crt": certificate, "tls.key": private})
    for _ in range(5):
        world.settle()
        world.now += SCHEDULE.asked_s
    assert world.decide().ready
    assert "gateway.example.org" in names_in(world.files("demo-head")["gateway.crt"])


def test_tokens_of_the_users_are_those_that_count():
    """The first of a role is handed out, all are taken; another value comes as any other token does."""
    world = World(("auth.existingSecret", "mine"))
    world.put(
        "mine",
        {role: token.encode() for role, token in TOKENS.items()} | {"viewer": f"{'e' * 64} {'f' * 64}\n".encode()},
    )
    world.settle()
    assert world.files("demo-viewer")["token"] == b"e" * 64
    assert world.files("demo-head")["tokens"].decode().splitlines()[:2] == [f"viewer {'e' * 64}", f"viewer {'f' * 64}"]
    assert world.files("demo-join")["join.token"].decode() == f"{TOKENS['join']}\n"
    world.edit("mine", viewer=b"a" * 64)
    world.settle()
    assert f"viewer {'a' * 64}" in world.files("demo-head")["tokens"].decode()
    for _ in range(4):
        world.now += SCHEDULE.asked_s
        world.settle()
    assert world.files("demo-viewer")["token"] == b"a" * 64
    assert "e" * 64 not in world.files("demo-head")["tokens"].decode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"admin": b""}, "admin is missing; it must have a token for each of viewer, submitter, admin, join"),
        ({"join": b"secret"}, "join must hold a token of 64 hex digits in lower case"),
        ({"viewer": b"A" * 64}, "viewer must hold a token of 64 hex digits in lower case"),
        ({"viewer": TOKENS["admin"].encode()}, "viewer and admin have the same token: each role needs one of its own"),
    ],
)
def test_what_is_wrong_with_tokens_of_the_users_is_said(changes, says):
    """And never what they are."""
    world = World(("auth.existingSecret", "mine"))
    world.put("mine", {**{role: token.encode() for role, token in TOKENS.items()}, **changes})
    [problem] = world.decide().problems
    assert str(problem).startswith(f"Secret mine: {says}")
    assert not [token for token in TOKENS.values() if token in problem.says]
    assert world.write(world.decide()) == 0
