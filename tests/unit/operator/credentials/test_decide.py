"""What is decided about a cluster's Secrets, in single cases."""

from __future__ import annotations

import itertools

import pytest

from manta.transport.certificates import AUTHORITY_DAYS, LEAF_DAYS, Role, role_name
from manta.transport.tokens import TokenRole, read_tokens
from manta_operator.builders import labels
from manta_operator.credentials import authority
from manta_operator.credentials.access import access
from manta_operator.credentials.certificate import signed_by
from manta_operator.credentials.given import Wrong
from tests.unit.operator.clusters import UID, cluster
from tests.unit.operator.credentials.world import DAY, NAMES, SCHEDULE, START, World, names_in, settled


def test_the_truth_comes_first_and_alone():
    """Its name is the lock: whoever made it, all others follow from it. Then nothing is to be done until a certificate is due."""
    world = World()
    first = world.decide()
    assert [one["metadata"]["name"] for one in first.creates] == ["demo-authority"]
    assert not first.ready
    world.write(first)
    second = world.decide()
    assert [one["metadata"]["name"] for one in second.creates] == [name for name in NAMES if name != "demo-authority"]
    assert second.updates == ()
    world.write(second)
    rest = world.decide()
    assert (rest.creates, rest.updates, rest.problems, rest.ready) == ((), (), (), True)
    assert rest.again_at is not None
    assert 500 * DAY < rest.again_at - START < 551 * DAY


def test_what_is_in_which_secret():
    """A mounted Secret is a folder of credentials; who is nobody's node sees tokens of its own alone."""
    world = settled()
    files = world.bytes()
    token = {role: files[f"demo-{role}"]["token"].decode() for role in ("viewer", "submitter", "admin")}
    pairs = {role: {f"{role}.crt", f"{role}.key"} for role in Role}
    common = {"ca.crt", "cluster", "join.token", "tokens"}
    assert set(files["demo-head"]) == common.union(*pairs.values())
    assert set(files["demo-join"]) == common | pairs[Role.WORKER]
    assert set(files["demo-submitter"]) == {"token", "ca.crt"}
    assert files["demo-head"]["cluster"] == files["demo-join"]["cluster"] == UID.encode()
    assert files["demo-head"]["tokens"].decode() == "".join(f"{role} {one}\n" for role, one in token.items())
    assert files["demo-join"]["tokens"].decode() == f"viewer {token['viewer']}\n"
    assert files["demo-head"]["join.token"] == files["demo-join"]["join.token"]
    assert len({*token.values(), files["demo-join"]["join.token"].decode().strip()}) == 4
    valid = read_tokens(files["demo-head"]["tokens"].decode(), "tokens")
    assert [one.role for one in valid] == [TokenRole.VIEWER, TokenRole.SUBMITTER, TokenRole.ADMIN]


def test_the_authoritys_key_leaves_its_secret_for_nowhere():
    """No Secret that a pod mounts, or a person reads, has it."""
    world = settled()
    key = world.files("demo-authority")["ca.key"]
    assert b"PRIVATE KEY" in key
    assert [name for name, files in world.bytes().items() if key in files.values()] == ["demo-authority"]


def test_certificates_carry_their_roles_name_and_the_doors_those_of_their_services():
    """Nodes are known by role; drivers and browsers know a Service, an address or what the user says."""
    world = settled(("tls.extraSANs", ["gateway.example.org", "192.0.2.7", "2001:db8:0::1"]))
    files = world.files("demo-head")
    extra = {"gateway.example.org", "192.0.2.7", "2001:db8::1", "localhost", "127.0.0.1", "::1"}
    assert names_in(files["control.crt"]) == {role_name("control", UID)}
    assert names_in(files["worker.crt"]) == {role_name("worker", UID)}
    assert names_in(files["gateway.crt"]) == extra | {
        role_name("gateway", UID),
        "demo-gateway",
        "demo-gateway.default",
        "demo-gateway.default.svc",
        "demo-gateway.default.svc.cluster.local",
    }
    assert {"demo-dashboard.default.svc", role_name("dashboard", UID)} < names_in(files["dashboard.crt"])


def test_another_name_makes_another_certificate_and_nothing_else():
    """Of the two doors that carry it."""
    world = settled()
    before = world.bytes()
    world.raw["spec"]["tls"] = {"extraSANs": ["gateway.example.org"]}
    world.settle()
    after = world.bytes()
    changed = {(name, file) for name in NAMES for file in after[name] if after[name][file] != before[name][file]}
    assert changed == {("demo-head", f"{role}.{end}") for role in ("gateway", "dashboard") for end in ("crt", "key")}


@pytest.mark.parametrize("name", NAMES)
def test_a_deleted_secret_comes_again(name):
    """With the same tokens. If it was the authority's, its key is gone: a new one comes beside the old."""
    world = settled()
    before = world.bytes()
    del world.secrets[name]
    decision = world.settle()
    assert decision.ready
    assert decision.problems == ()
    after = world.bytes()
    for role in ("viewer", "submitter", "admin"):
        assert after[f"demo-{role}"]["token"] == before[f"demo-{role}"]["token"]
    assert after["demo-join"]["join.token"] == before["demo-join"]["join.token"]
    old = before["demo-authority"]["ca.crt"]
    assert after["demo-head"]["ca.crt"].startswith(old)
    assert (after["demo-head"]["ca.crt"] != old) == (name == "demo-authority")


def test_after_the_authority_was_deleted_trust_is_moved_to_a_new_one():
    """Pods go on with what they have, and in the end the old authority, whose key somebody may have, is no longer trusted."""
    world = settled()
    old = world.files("demo-authority")["ca.crt"]
    leaf = world.files("demo-head")["control.crt"]
    del world.secrets["demo-authority"]
    world.settle()
    assert world.files("demo-head")["control.crt"] == leaf
    for _ in range(4):
        world.now += SCHEDULE.asked_s
        world.settle()
    new = world.files("demo-authority")["ca.crt"]
    assert new != old
    assert world.files("demo-head")["ca.crt"] == world.files("demo-viewer")["ca.crt"] == new
    assert signed_by(world.files("demo-head")["control.crt"], new)


@pytest.mark.parametrize(
    ("name", "file"),
    [(name, file) for name, files in settled().bytes().items() for file in files if name != "demo-authority"],
)
def test_what_a_stranger_wrote_into_a_secret_is_put_right(name, file):
    """Everything is as it was, but a certificate whose key was lost, which is another."""
    world = settled()
    before = world.bytes()
    world.edit(name, **{file: b"nonsense"})
    assert world.settle().problems == ()
    after = world.bytes()
    role = file.partition(".")[0] if file.endswith((".crt", ".key")) and file != "ca.crt" else ""
    for other in before[name]:
        if not role or other.partition(".")[0] != role:
            assert after[name][other] == before[name][other]
    if role:
        assert signed_by(after[name][f"{role}.crt"], after["demo-authority"]["ca.crt"])
    assert {one: after[one] for one in NAMES if one != name} == {one: before[one] for one in NAMES if one != name}


def test_what_somebody_added_to_a_secret_may_stay():
    """It is theirs."""
    world = settled()
    world.edit("demo-viewer", note=b"for Ada")
    assert world.write(world.decide()) == 0


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"ca.crt": b"x"}, "ca.crt is no certificate"),
        ({"ca.crt": b""}, "what is valid now is missing"),
        ({"ca.key": b"x"}, "ca.key is not the key of ca.crt"),
        ({"ca.key": b""}, "the key of the authority is missing"),
        ({"tokens": b"viewer x"}, "tokens has a line that is not a role and its token"),
        ({"tokens": b"viewer " + b"a" * 64}, "tokens has no token of submitter, admin, join"),
        ({"state.json": b"{}"}, "state.json is not as it was written"),
        ({"state.json": b'{"version": 9}'}, "state.json has format 9, and this operator reads 1"),
    ],
)
def test_a_truth_that_makes_no_sense_is_an_error_and_not_a_new_one(files, says):
    """A new authority is somebody's decision. Until then the cluster goes on with what it has."""
    world = settled()
    world.edit("demo-authority", **files)
    decision = world.decide()
    [problem] = decision.problems
    assert (problem.wrong, problem.secret) == (Wrong.INVALID, "demo-authority")
    assert str(problem).startswith(f"Secret demo-authority: {says}. Put back what was there; or delete it")
    assert (decision.creates, decision.updates, decision.ready) == ((), (), True)


@pytest.mark.parametrize("name", NAMES)
def test_somebody_elses_secret_is_left_alone(name):
    """The name is said; what does not need it goes on."""
    world = World()
    world.put(name, {"a": b"b"})
    decision = world.settle()
    [problem] = decision.problems
    assert (problem.wrong, problem.secret) == (Wrong.TAKEN, name)
    assert world.files(name) == {"a": b"b"}
    assert decision.ready == (name not in ("demo-authority", "demo-head", "demo-join"))


def test_a_former_clusters_secrets_are_nobodys():
    """Of the same name; they go, and until they are gone nothing is made and nothing read from them."""
    world = settled()
    for name in NAMES:
        world.secrets[name]["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z"
    decision = world.decide()
    assert (decision.creates, decision.updates, decision.problems, decision.ready) == ((), (), (), False)
    world.raw["metadata"]["uid"] = "another"
    assert {one.wrong for one in world.decide().problems} <= {Wrong.TAKEN}
    assert world.write(world.decide()) == 0


def test_certificates_are_renewed_at_two_thirds_of_their_life():
    """Not a second before; and authority and tokens stay what they are."""
    world = settled()
    before = world.bytes()
    due = world.decide().again_at
    assert due is not None
    world.now = due - 1
    assert world.write(world.decide()) == 0
    world.now = due
    world.settle()
    after = world.bytes()
    leaves = {f"{role}.{end}" for role in Role for end in ("crt", "key")}
    for name in NAMES:
        for file in before[name]:
            assert (after[name][file] != before[name][file]) == (file in leaves), (name, file)
    assert world.decide().again_at == pytest.approx(due + LEAF_DAYS * DAY * 2 / 3, abs=DAY)


def test_an_authority_is_replaced_at_two_thirds_of_its_life():
    """By time alone, and slowly."""
    world = settled()
    old = world.files("demo-authority")["ca.crt"]
    world.now = START + AUTHORITY_DAYS * DAY * 2 / 3
    world.settle()
    bundle = world.files("demo-head")["ca.crt"]
    assert bundle.startswith(old)
    assert bundle != old
    again = world.decide().again_at
    assert again == world.now + SCHEDULE.planned_s


def test_a_new_word_rotates_the_authority_once():
    """The annotation's value is remembered; the same value does nothing, whoever sees it again."""
    world = settled()
    roots = {world.files("demo-authority")["ca.crt"]}
    tokens = {role: world.files(f"demo-{role}")["token"] for role in ("viewer", "submitter", "admin")}
    for word in ("1", "2"):
        world.annotate(labels.ROTATE, word)
        for _ in range(5):
            world.settle()
            world.now += SCHEDULE.asked_s
        roots.add(world.files("demo-authority")["ca.crt"])
        assert world.write(world.decide()) == 0
        assert world.files("demo-head")["ca.crt"] == world.files("demo-authority")["ca.crt"]
    assert len(roots) == 3
    assert tokens == {role: world.files(f"demo-{role}")["token"] for role in tokens}


def test_a_word_that_was_there_from_the_beginning_is_answered():
    """What is new is new enough."""
    world = World()
    world.annotate(labels.ROTATE, "1")
    world.annotate(labels.ROTATE_TOKENS, "1")
    world.settle()
    assert authority.read(world.files("demo-authority")).roots.resting


def test_tokens_are_changed_on_demand_and_the_authority_stays():
    """First both are taken and the old is shown, then the new is shown, then the old is nobody's."""
    world = settled()
    old, root = world.files("demo-submitter")["token"].decode(), world.files("demo-authority")["ca.crt"]
    world.annotate(labels.ROTATE_TOKENS, "1")
    seen = []
    for _ in range(4):
        world.settle()
        taken = [
            line.split()[1] for line in world.files("demo-head")["tokens"].decode().splitlines() if "submitter" in line
        ]
        seen.append((world.files("demo-submitter")["token"].decode(), taken))
        world.now += SCHEDULE.asked_s
    new = seen[-1][0]
    assert new != old
    assert [one for one, _ in itertools.groupby(seen)] == [(old, [old, new]), (new, [new, old]), (new, [new])]
    assert world.files("demo-authority")["ca.crt"] == root


def test_the_operator_shows_what_a_node_shows():
    """As soon as the head's Secret is there."""
    world = World()
    assert access(cluster(), world.secrets.values()) is None
    world.settle()
    found = access(cluster(), world.secrets.values())
    assert found is not None
    assert (found.cluster, found.roots) == (UID, world.files("demo-authority")["ca.crt"])
    assert found.certificate == world.files("demo-head")["worker.crt"]
    assert found.join_token == world.files("demo-join")["join.token"].decode().strip()
    assert found.admin_token == world.files("demo-admin")["token"].decode()
