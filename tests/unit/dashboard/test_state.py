"""The state API by HTTP: what a question may say, and how its answer reads."""

from __future__ import annotations

import pytest

from manta.client.state_query import Found
from manta.dashboard.state import MOST_FILTERS, MOST_S, Asked, StateRequestError, answer, asked

ROWS = [{"name": "a", "state": "ALIVE"}, {"name": "b", "state": "DEAD"}, {"name": "c", "state": "ALIVE"}]


def conditions(*triples):
    return {f"filter_{part}": [one[at] for one in triples] for at, part in enumerate(("keys", "predicates", "values"))}


def test_a_question_without_parameters_is_rays():
    assert asked({}) == Asked(limit=100, timeout_s=MOST_S, filters=())
    assert asked({"limit": ["5"], "timeout": ["1"], "detail": ["True"], **conditions(("state", "=", "DEAD"))}) == Asked(
        limit=5, timeout_s=1, filters=(("state", "=", "DEAD"),)
    )


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"limit": ["0"]}, "limit is a number from 1 to 10000"), ({"limit": ["10001"]}, "limit"), ({"limit": ["-1"]}, "limit"),
        ({"limit": ["1e9"]}, "limit"), ({"limit": ["\u0661"]}, "limit"), ({"limit": ["9" * 5000]}, "limit"),
        ({"timeout": [""]}, "timeout is a number"),
        ({"filter_keys": ["a"]}, "come together"), (conditions(*[("a", "=", "b")] * (MOST_FILTERS + 1)), "at most 20"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(query, words):
    with pytest.raises(StateRequestError, match=words):
        asked(query)


def test_an_answer_counts_what_there_is_what_fits_and_what_is_missing():
    found = Found(list(ROWS), failures=["node 1f: it did not answer"], notes=["5 in all"], left_out=2)
    assert answer(found, Asked(1, 1.0, (("state", "!=", "dead"),))) == {
        "result": True,
        "msg": "",
        "data": {
            "result": {
                "total": 5,
                "num_after_truncation": 3,
                "num_filtered": 2,
                "result": [ROWS[0]],
                "partial_failure_warning": "node 1f: it did not answer",
                "warnings": ["5 in all"],
            }
        },
    }
    for wrong in (("colour", "=", "red"), ("state", "~", "DEAD")):
        with pytest.raises(StateRequestError, match=r"not supported|Unsupported"):
            answer(found, Asked(1, 1.0, (wrong,)))
