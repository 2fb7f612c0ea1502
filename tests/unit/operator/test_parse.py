"""Objects that anybody may have written become typed values, or errors that name each mistake."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from manta_operator.api.parse import InvalidObjectError, parse_cluster, parse_job
from manta_operator.api.render import render
from tests.kube import cases

PARSERS = {"MantaCluster": parse_cluster, "MantaJob": parse_job}
FIELDS = [(kind, path) for kind in PARSERS for path in cases.paths(cases.DEFINITIONS[kind])]
RULES = [rule.message for definition in cases.DEFINITIONS.values() for rule in cases.own_rules(definition)]


@pytest.mark.parametrize("kind", PARSERS)
def test_every_field_has_a_row(kind):
    """A field without one is a field that nobody has tried."""
    assert list(cases.FIELDS[kind]) == list(cases.paths(cases.DEFINITIONS[kind]))


def test_every_rule_has_a_row():
    """A rule that nothing breaks may as well not be there."""
    assert [message for message in RULES if not any(message.startswith(begin) for begin in cases.RULES)] == []


@pytest.mark.parametrize(("kind", "path"), FIELDS)
def test_a_field_is_read_or_refused(kind, path):
    """What the API server must refuse, the parser refuses too, and names the field; all else it reads."""
    for case in cases.field_cases(kind, path):
        if case.refused and case.parser_sees:
            with pytest.raises(InvalidObjectError) as caught:
                PARSERS[kind](case.raw)
            where = path.replace("[]", "[0]")
            assert any(problem.path.startswith(f"spec.{where}") for problem in caught.value.problems), case.name
        else:
            parsed = PARSERS[kind](case.raw)
            if case.kept and not isinstance(case.kept[1], (dict, list)):
                at, value = case.kept
                assert cases.found(render(parsed), at) == value, case.name


@pytest.mark.parametrize("message", dict.fromkeys(RULES))
def test_a_broken_rule_is_said_in_its_words(message):
    """What must hold between fields is looked at by the parser too, as a definition may be older than the operator."""
    for case in cases.rule_cases(message):
        if case.parser_sees:
            with pytest.raises(InvalidObjectError) as caught:
                PARSERS[case.raw["kind"]](case.raw)
            assert message in [problem.says for problem in caught.value.problems], case.name


def test_every_mistake_is_named_at_once():
    """Somebody who made three mistakes hears of three, with what was wrong and where."""
    raw = cases.changed(
        cases.minimal("MantaCluster"), ("image", 3), ("workerGroups[].replicas", -1), ("head.storage.type", "tape")
    )

    with pytest.raises(InvalidObjectError) as caught:
        parse_cluster(raw)

    assert str(caught.value) == (
        "MantaCluster default/demo is invalid: "
        "spec.image: must be a text, not 3; "
        "spec.head.storage.type: must be one of pvc, emptyDir, not 'tape'; "
        "spec.workerGroups[0].replicas: must be at least 0, not -1"
    )


def test_another_kind_of_object_is_not_taken_for_ours():
    """Neither a newer version nor another kind is read as if it were this one."""
    raw = {**cases.minimal("MantaCluster"), "apiVersion": "manta.compute/v2", "kind": "MantaJob"}
    with pytest.raises(InvalidObjectError) as caught:
        parse_cluster(raw)
    assert [problem.path for problem in caught.value.problems] == ["apiVersion", "kind"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@hypothesis.given(data=st.data())
def test_nothing_but_an_error_of_ours_comes_out_of_whatever_stands_there(data):
    """Any JSON anywhere in an object: it is read, or refused with words."""
    kind, path = data.draw(st.sampled_from(FIELDS))
    raw = cases.changed(cases.minimal(kind), (path, data.draw(JSON)))
    try:
        parsed = PARSERS[kind](raw)
    except InvalidObjectError as error:
        said = str(error)
    else:
        said = json.dumps(render(parsed))
    assert said


@pytest.mark.parametrize("raw", [None, 3, "x", [], {}, {"metadata": 3, "spec": []}, {"spec": {"image": 10**9999}}])
def test_what_is_no_object_at_all_is_refused(raw):
    """Whatever a list or a watch brings."""
    for parse in PARSERS.values():
        with pytest.raises(InvalidObjectError) as caught:
            parse(raw)
        assert str(caught.value)


def test_what_was_read_is_written_the_same():
    """Rendering a parsed object gives what it said, with the defaults filled in, and reading that again changes nothing."""
    for kind, parse in PARSERS.items():
        whole = parse(cases.minimal(kind))
        again = {"apiVersion": "manta.compute/v1alpha1", "kind": kind, **render(whole)}
        assert parse(again) == whole
