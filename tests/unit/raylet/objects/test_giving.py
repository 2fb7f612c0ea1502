"""Where objects of a drained node go: the two pure halves by themselves, and together on a network that loses and repeats."""

from __future__ import annotations

import random
from typing import Any

import pytest

from manta.raylet.objects import taking as tk
from manta.raylet.objects.giving import AGAIN_S, MAX_OPEN, MAX_OPEN_PER_OWNER, Giving, Sole, Verdict
from manta.raylet.objects.taking import Offered, Taking

A, B, C, D, OWNER = (bytes([letter]) * 28 for letter in b"abcdo")


def oid(number: int) -> bytes:
    return number.to_bytes(28, "big")


def sole(number: int, owner: bytes = OWNER, node: bytes = A, copies: tuple[bytes, ...] = ()) -> Sole:
    return Sole(oid(number), 100, owner, node, copies)


def test_who_has_a_copy_is_asked_first_then_where_the_owner_lives_then_the_others():
    giving = Giving()
    order = []
    for now in range(3):
        (offer,) = giving.look([sole(1, copies=(C,))], [A, C, D], now=float(now))
        order.append(offer.node_id)
        giving.answered(offer.node_id, oid(1), Verdict.REFUSED, "full")
    assert order == [C, A, D]
    assert giving.look([sole(1)], [A, C, D], now=3.0) == []
    assert giving.stuck() == (1, 100, "full")
    assert giving.look([sole(1)], [A, C, D], now=3.0 + AGAIN_S)[0].node_id == A, "a new round"
    giving.validate()


def test_an_owner_that_does_not_answer_holds_up_no_other_ones_objects():
    giving = Giving()
    many = [sole(number) for number in range(200)]
    offers = giving.look([*many, sole(900, owner=B)], [C], now=0.0)
    assert len(offers) == MAX_OPEN_PER_OWNER + 1
    assert len(offers) < MAX_OPEN
    assert offers[-1].sole.owner == B
    giving.validate()


def test_what_is_gone_meanwhile_is_forgotten_and_a_late_answer_means_nothing():
    giving = Giving()
    giving.look([sole(1)], [C], now=0.0)
    giving.look([], [C], now=1.0)
    assert not giving.answered(C, oid(1), Verdict.TAKEN, "")
    assert not giving.wants_link(C)
    giving.validate()


def test_with_nobody_to_take_it_an_object_has_nowhere_to_go():
    giving = Giving()
    assert giving.look([sole(1), sole(2, node=b"")], [], now=0.0) == []
    assert giving.stuck() == (1, 100, "no other node takes objects")
    assert giving.statistics()["objects_stay"] == 1


def test_a_node_takes_no_more_than_it_has_room_for_counting_what_is_on_its_way():
    taking = Taking(B)
    big = Offered(oid(1), 640, OWNER, A)
    assert taking.offered(C, big, here=False, room=1000) == [tk.Pull(big, C)]
    (answer,) = taking.offered(C, Offered(oid(2), 640, OWNER, A), here=False, room=1000)
    assert isinstance(answer, tk.Answer)
    assert (answer.verdict, answer.reason) == (Verdict.REFUSED, "640 bytes are needed, 360 can be had")
    taking.here(oid(1))
    taking.refusal = "the node is being drained"
    (answer,) = taking.offered(C, Offered(oid(3), 64, OWNER, A), here=False, room=1000)
    assert isinstance(answer, tk.Answer)
    assert answer.reason == "the node is being drained"
    taking.validate()


class World:
    """A drained node A, two that take, an owner; frames get lost, come twice or late, and nodes die.

    Who is dead is known to all at once, as control says it. Links are said anew when they break: `relink`.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.giving = Giving()
        self.taking = {node: Taking(node) for node in (B, C)}
        #: Which node has what as its first copy.
        self.first: dict[bytes, set[bytes]] = {A: {oid(n) for n in range(6)}, B: set(), C: set()}
        #: Where the owner looks; what it has freed is not there. And what it has not heard of yet.
        self.known = dict.fromkeys(sorted(self.first[A])[:4], A)
        self.to_come = set(sorted(self.first[A])[4:])
        self.frames: list[tuple[str, bytes, Any]] = []
        self.dead: set[bytes] = set()

    def look(self) -> None:
        soles = [Sole(each, 100, OWNER, D) for each in sorted(self.first[A])]
        takers = [node for node in (B, C) if node not in self.dead]
        for offer in self.giving.look(soles, takers, now=self.now):
            self.frames.append(("offer", offer.node_id, offer))

    def do(self, node: bytes, commands: list[tk.Command]) -> None:
        for command in commands:
            match command:
                case tk.Pull():
                    self.frames.append(("pulled", node, command.offered.object_id))
                case tk.Keep():
                    self.first[node].add(command.offered.object_id)
                case tk.Free():
                    self.first[node].discard(command.object_id)
                case tk.Ask():
                    self.frames.append(("ask", node, command))
                case tk.Answer():
                    self.frames.append(("answer", node, command))

    def deliver(self, frame: tuple[str, bytes, Any]) -> None:
        kind, node, what = frame
        if node in self.dead:
            return
        match kind, what:
            case "offer", offer:
                offered = Offered(offer.sole.object_id, 100, OWNER, D, offer.former)
                self.do(node, self.taking[node].offered(A, offered, here=False, room=10_000))
            case "pulled", object_id:
                there = object_id in self.first[A]
                taking = self.taking[node]
                self.do(node, taking.here(object_id) if there else taking.failed(object_id, "absent"))
            case "ask", tk.Ask() as ask:
                object_id = ask.object_id
                moved = self.known.get(object_id) in {node, *ask.former}
                if moved:
                    self.known[object_id] = node
                gone = not moved and object_id not in self.to_come
                self.frames.append(("known", node, (object_id, ask.number, moved, gone)))
            case "known", (object_id, number, moved, gone):
                self.do(node, self.taking[node].known(OWNER, object_id, number, moved=moved, gone=gone))
            case "answer", tk.Answer() as answer:
                done = self.giving.answered(node, answer.object_id, answer.verdict, "")
                if done:
                    self.first[A].discard(answer.object_id)

    def step(self) -> None:
        self.now += 0.05
        what = self.random.random()
        if what < 0.15:
            self.look()
        elif what < 0.20 and self.to_come:
            self.known[self.to_come.pop()] = A
        elif what < 0.23 and self.known:
            object_id = self.random.choice(sorted(self.known))
            self.first[self.known.pop(object_id)].discard(object_id)
        elif what < 0.30:
            # Every link breaks, what is under way on one may be lost, and what is owed is said on the next.
            self.frames = [frame for frame in self.frames if frame[0] == "pulled" or self.random.random() < 0.4]
            self.relink()
        elif what < 0.34:
            for node, taking in self.taking.items():
                self.do(node, taking.ask_again())
        elif what < 0.35 and not self.dead:
            node = self.random.choice((B, C))
            self.dead.add(node)
            self.giving.node_left(node, "killed")
            # What had moved there for good is lost with it, as with any node.
            for object_id in [each for each, at in self.known.items() if at == node and each not in self.first[A]]:
                del self.known[object_id]
        elif self.frames:
            # One connection keeps its order, several do not; the owner hears of one object in order.
            at = self.random.randrange(len(self.frames))
            self.deliver(self.frames.pop(at))
        self.check()

    def relink(self) -> None:
        for node, taking in self.taking.items():
            if node not in self.dead:
                self.frames += [("offer", node, offer) for offer in self.giving.offered_to(node)]
                self.frames += [("ask", node, ask) for ask in taking.asked_at(D)]

    def check(self) -> None:
        self.giving.validate()
        for taking in self.taking.values():
            taking.validate()
        for object_id, node in self.known.items():
            there = [each for each in self.first if object_id in self.first[each] and each not in self.dead]
            assert there, "what its owner wants is somewhere"
            assert object_id in self.first[node] or object_id in self.first[A], "where it looks, or with who gives it"

    def settle(self) -> None:
        """Everything is heard, the network is well, and the drain goes on for as long as it takes."""
        while self.to_come:
            self.known[self.to_come.pop()] = A
        for _ in range(200):
            self.now += 1.0
            self.look()
            self.relink()
            while self.frames:
                self.deliver(self.frames.pop(0))
                self.check()
            for node, taking in self.taking.items():
                self.do(node, taking.ask_again())


@pytest.mark.parametrize("seed", range(60))
def test_whatever_gets_lost_or_dies_what_is_wanted_is_kept_and_in_the_end_all_has_moved(seed):
    """At every moment somebody alive has it; in the end exactly the node that the owner knows, and nobody else."""
    world = World(seed)
    for _ in range(250):
        world.step()
    world.settle()
    assert not world.first[A]
    for object_id, node in world.known.items():
        assert node not in world.dead
        assert [each for each in (B, C) if object_id in world.first[each] and each not in world.dead] == [node]
    kept = set().union(*(world.first[node] for node in (B, C) if node not in world.dead))
    assert kept == set(world.known), "nothing that nobody wants stays"
