"""A store finds objects by key and by index, and tells of changes once."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from manta_operator.kube.resources import Key
from manta_operator.kube.store import Store, label, owners


def pod(name, version="1", *, uid="", owner="", labels=None):
    metadata = {"namespace": "n", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": version}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner}]
    if labels:
        metadata["labels"] = labels
    return {"metadata": metadata}


def names(objects):
    return sorted(obj["metadata"]["name"] for obj in objects)


def test_objects_are_found_by_owner_and_by_label_within_a_namespace():
    """And are not, once they are gone or say otherwise."""
    store = Store({"owner": owners, "cluster": label("cluster")})
    store.put(pod("a", owner="o", labels={"cluster": "x"}))
    store.put(pod("b", owner="o"))
    assert names(store.by("owner", "o")) == ["a", "b"]
    assert names(store.by("cluster", "n/x")) == ["a"]

    store.put(pod("a", "2", owner="other"))
    assert names(store.by("owner", "o")) == ["b"]
    assert store.by("cluster", "n/x") == []
    store.remove(Key("n", "b"))
    assert store.by("owner", "o") == []


def test_what_is_known_is_not_told_again():
    """A list after a watch, or an event sent twice, wakes nobody."""
    store, told = Store(), []
    store.listen(lambda before, after: told.append((before, after)))
    assert store.put(pod("a"))
    assert not store.put(pod("a"))
    assert store.remove(Key("n", "a"))
    assert not store.remove(Key("n", "a"))
    assert told == [(None, pod("a")), (pod("a"), None)]


def test_another_object_of_the_same_name_is_an_end_and_a_beginning():
    """The end of the first was not seen, and is told all the same."""
    store, told = Store(), []
    store.put(pod("a", uid="1"))
    store.listen(lambda before, after: told.append((before, after)))
    store.put(pod("a", "2", uid="2"))
    assert told == [
        (None, pod("a", uid="1")),
        (pod("a", uid="1"), None),
        (None, pod("a", "2", uid="2")),
    ]


def test_who_wrote_which_field_is_not_kept():
    """Half of an object's size, and nobody reads it."""
    store = Store()
    obj = pod("a")
    obj["metadata"] |= {
        "managedFields": [{"manager": "x"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "y"},
    }
    store.put(obj)
    assert store.get(Key("n", "a")) == {"metadata": {**pod("a")["metadata"], "annotations": {"mine": "y"}}}
    assert "managedFields" in obj["metadata"]


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.none() | st.tuples(st.integers(0, 3), st.sampled_from(["", "o1", "o2"])))
)


@hypothesis.given(steps=STEPS)
def test_an_index_has_what_a_look_at_every_object_would_find(steps):
    """The slow, obvious way."""
    store = Store({"owner": owners})
    for name, what in steps:
        if what is None:
            store.remove(Key("n", name))
        else:
            store.put(pod(name, str(what), owner=what[1]))
        for owner in ("o1", "o2"):
            assert names(store.by("owner", owner)) == names(obj for obj in store.all() if owner in owners(obj))
