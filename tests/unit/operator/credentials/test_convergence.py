"""Whatever happens to the Secrets and to who writes them, they come to the same rest, and nobody who should be trusted is not."""

from __future__ import annotations

import copy
from collections import deque

import hypothesis
import pytest
from hypothesis import strategies as st

from manta.transport.certificates import Role
from manta_operator.builders import labels
from manta_operator.credentials import authority
from manta_operator.credentials.certificate import signed_by
from manta_operator.credentials.decide import Decision
from tests.unit.operator.credentials.world import DAY, NAMES, SCHEDULE, World, settled

#: A kubelet brings a changed Secret into its pods within that time.
LAG_S = 120.0


@hypothesis.settings(max_examples=30)
@hypothesis.given(left=st.sets(st.sampled_from(NAMES)))
def test_from_any_secrets_that_are_left_all_come_again(left):
    """Tokens that any of them knows are the same; pods that trust somebody go on doing so."""
    world = settled()
    before = world.bytes()
    for name in set(NAMES) - left:
        del world.secrets[name]
    decision = world.settle()
    assert (decision.ready, decision.problems) == (True, ())
    after = world.bytes()
    for role in ("viewer", "submitter", "admin"):
        if left & {"demo-authority", "demo-head", f"demo-{role}"}:
            assert after[f"demo-{role}"]["token"] == before[f"demo-{role}"]["token"]
    if left & {"demo-authority", "demo-head", "demo-join"}:
        assert after["demo-join"]["join.token"] == before["demo-join"]["join.token"]
        assert after["demo-head"]["ca.crt"].startswith(before["demo-authority"]["ca.crt"])
    for name in left:
        same = {file for file in before[name] if after[name][file] == before[name][file]}
        assert {"ca.crt"} >= set(before[name]) - same or name == "demo-authority"


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    crashes=st.lists(st.integers(0, 3), max_size=12),
    word=st.sampled_from(["", labels.ROTATE, labels.ROTATE_TOKENS]),
)
def test_an_operator_that_dies_after_any_write_leaves_what_the_next_one_ends(crashes, word):
    """The authority and the tokens are those of the first one that wrote them."""
    world = World()
    truths = set()
    for most in crashes:
        world.write(world.decide(), most)
        if "demo-authority" in world.secrets:
            truths.add((world.files("demo-authority")["ca.crt"], world.files("demo-authority")["tokens"]))
    assert len(truths) <= 1
    assert world.settle().ready
    if word:
        world.annotate(word, "1")
        for most in crashes:
            world.write(world.decide(), most)
            world.now += SCHEDULE.asked_s / 3
        for _ in range(8):
            world.now += SCHEDULE.asked_s
            world.settle()
        assert world.bytes()["demo-authority"]["ca-next.crt"] == world.bytes()["demo-authority"]["ca-old.crt"] == b""
    assert world.settle().problems == ()


@hypothesis.settings(max_examples=30)
@hypothesis.given(turns=st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=16))
def test_two_operators_of_which_one_sees_the_past_end_as_one_would(turns):
    """Names and versions decide: what was made by either is taken by both, and nothing is written over."""
    world = World()
    past = deque([{}], maxlen=4)
    tokens = set()
    for stale, most in turns:
        seen = past[0] if stale else world.secrets
        world.write(world.decide(seen), most)
        past.append(copy.deepcopy(world.secrets))
        if "demo-authority" in world.secrets:
            tokens.add(world.files("demo-authority")["tokens"])
    assert len(tokens) <= 1
    decision = world.settle()
    assert (decision.ready, decision.problems) == (True, ())


class Mounts:
    """What pods may have of a Secret: any version that was valid within the kubelet's lag."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._versions: list[tuple[float, dict[str, bytes]]] = []

    def look(self, world: World) -> None:
        files = world.files(self._name)
        if not self._versions or self._versions[-1][1] != files:
            self._versions.append((world.now, files))

    def now(self, world: World) -> list[dict[str, bytes]]:
        """Those that were replaced less than the lag ago, and the newest."""
        ends = [begin for begin, _ in self._versions[1:]] + [float("inf")]
        return [files for (_, files), end in zip(self._versions, ends, strict=True) if end > world.now - LAG_S]


def check(world, head, join):
    """Everybody trusts everybody: any version of what is shown against any version of what is trusted."""
    mounted = {"head": head.now(world), "join": join.now(world)}
    shown = [files[f"{role}.crt"] for files in mounted["head"] for role in Role]
    shown += [files["worker.crt"] for files in mounted["join"]]
    for bundle in {files["ca.crt"] for versions in mounted.values() for files in versions}:
        roots = [
            f"{part}-----END CERTIFICATE-----\n".encode()
            for part in bundle.decode().split("-----END CERTIFICATE-----\n")[:-1]
        ]
        for certificate in set(shown):
            assert any(signed_by(certificate, root) for root in roots)
    for taken in mounted["head"]:
        for files in mounted["join"]:
            assert files["join.token"].split()[0] in taken["join.token"].split()
            assert files["tokens"].split()[1] in taken["tokens"].split()


#: Which of the writes of a decision are made before whoever makes them dies, or is refused.
EVERY = frozenset(range(7))
ANY = st.just(EVERY) | st.frozensets(st.integers(0, 6))
WAITS = st.sampled_from([0.0, LAG_S / 2, 2 * LAG_S, SCHEDULE.asked_s, DAY])


@pytest.mark.parametrize("word", [labels.ROTATE, labels.ROTATE_TOKENS])
@hypothesis.settings(max_examples=30)
@hypothesis.given(steps=st.lists(st.tuples(WAITS, ANY), max_size=12))
# Every write at once, again and again; and only the authority's, for longer than a phase takes.
@hypothesis.example(steps=[(0.0, EVERY)] * 8)
@hypothesis.example(steps=[(0.0, EVERY), *[(2 * SCHEDULE.asked_s, frozenset({5}))] * 3, (0.0, EVERY)])
def test_at_every_moment_of_a_rotation_everybody_is_trusted(word, steps):
    """However long the operator is away, whichever writes of it fail, and though each pod has its Secrets of two minutes ago."""
    world = settled()
    head, join = Mounts("demo-head"), Mounts("demo-join")
    old = world.files("demo-join")["ca.crt" if word == labels.ROTATE else "join.token"]
    for mounts in (head, join):
        mounts.look(world)
    world.now += 2 * LAG_S
    world.annotate(word, "1")
    coming = iter(steps)
    while (step := next(coming, None)) or not at_rest(world, word):
        wait_s, made = step or (SCHEDULE.asked_s, EVERY)
        for one in _writes(world.decide(), made):
            world.write(one)
            for mounts in (head, join):
                mounts.look(world)
            check(world, head, join)
        for part in (0.5, 0.5):
            world.now += wait_s * part
            check(world, head, join)
    file, each = ("ca.crt", b"BEGIN CERTIFICATE") if word == labels.ROTATE else ("join.token", b"\n")
    new = world.files("demo-join")[file]
    assert new != old
    assert new.count(each) == 1


def at_rest(world, word):
    """Whether the word was answered, and all that follows from it done."""
    truth = authority.read(world.files("demo-authority"))
    turn = truth.roots if word == labels.ROTATE else truth.tokens
    return turn.answered and turn.resting and not world.write(world.decide(), 0)


def _writes(decision, made):
    """Some of a decision's writes, each as a decision of its own."""
    each = [Decision(creates=(one,)) for one in decision.creates] + [
        Decision(updates=(one,)) for one in decision.updates
    ]
    return [one for index, one in enumerate(each) if index in made]
