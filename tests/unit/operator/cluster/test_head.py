"""What is done about the head's pod."""

from __future__ import annotations

import pytest

from manta_operator.cluster.head import HeadWish, move_head
from manta_operator.cluster.pods import pods_of
from manta_operator.cluster.seen import Seen
from tests.support.kubernetes import NOW, cluster, node, pod

LOST, OUT, OTHER = node(ready="Unknown", since=NOW - 1000), node(out=True), node("node-2")


def decide(raw, *nodes, **wish):
    """What is done, in a word: create, delete, force, hold, or nothing."""
    pods = (raw,) if raw else ()
    nodes = {one["metadata"]["name"]: one for one in (nodes or (node(),))}
    seen = pods_of(Seen(raw=cluster(), cluster=None, pods=pods, nodes=nodes), NOW)
    move = move_head(next(iter(seen), None), HeadWish(**{"revision": "r1"} | wish), NOW)
    if move.delete is not None:
        assert move.delete.name == "demo-head"
        return "force" if move.delete.grace_s == 0 else "delete live" if move.delete.live else "delete"
    return "create" if move.create else "wait" if move.again_at is not None else "missing" if move.missing else ""


def head(**more):
    return pod("demo-head", **more)


@pytest.mark.parametrize(
    ("raw", "nodes", "wish", "done"),
    [
        (None, (), {}, "create"),
        (None, (), {"hold": True}, "missing"),
        (None, (), {"suspended": True}, ""),
        (head(), (), {}, ""),
        (head(ready=False), (), {}, ""),
        (head(), (), {"suspended": True}, "delete live"),
        (head(revision="r0"), (), {}, ""),
        (head(revision="r0"), (), {"replace": True}, "delete live"),
        (head(going=True), (), {}, ""),
        (head(going=True), (), {"suspended": True}, ""),
        (head(phase="Failed"), (), {}, "delete"),
        (head(phase="Failed", created=NOW - 1), (), {}, "wait"),
        (head(owner=None), (), {}, ""),
        (head(owner=None), (), {"suspended": True}, ""),
        (head(owner=None, revision="r0"), (), {"replace": True}, ""),
        (head(), (LOST, OTHER), {}, ""),
        (head(going=True), (LOST, OTHER), {}, ""),
        (head(), (OUT, OTHER), {}, "force"),
        (head(going=True), (OUT, OTHER), {}, "force"),
    ],
)
def test_there_is_one_head_and_a_new_one_only_when_the_old_one_is_gone(raw, nodes, wish, done):
    """On a node that does not answer it may still work, and nobody else may then; out-of-service is the word that it does not."""
    assert decide(raw, *nodes, **wish) == done
