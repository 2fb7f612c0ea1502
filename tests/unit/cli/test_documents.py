"""What `-o json` and `-o yaml` print: blocks that any reader of YAML understands as the same value."""

from __future__ import annotations

import json
import re

import pytest

from manta.cli.documents import written, yaml


def test_nested_values_stand_in_blocks():
    value = {
        "state": "ALIVE",
        "resources": {"CPU": 2.0},
        "pids": [1, 2],
        "nodes": [{"id": "a", "up": True}, {"id": "b"}],
    }
    assert yaml(value).splitlines() == [
        "state: ALIVE",
        "resources:",
        "  CPU: 2.0",
        "pids:",
        "- 1",
        "- 2",
        "nodes:",
        "- id: a",
        "  up: true",
        "- id: b",
    ]


@pytest.mark.parametrize(
    "text", ["", "yes", "No", "null", "1", "1e3", "0x1f", "a: b", "- a", "#", "a\nb", "*x", "é", " a"]
)
def test_what_could_be_taken_for_something_else_is_quoted(text: str):
    name, _, quoted = yaml({"of": text}).rstrip("\n").partition(": ")
    assert (name, json.loads(quoted)) == ("of", text)


@pytest.mark.parametrize(
    ("value", "line"), [({}, "{}"), ([], "[]"), (None, "null"), ("a/b-c.d", "a/b-c.d"), ([[]], "- []")]
)
def test_empty_ones_and_plain_ones(value: object, line: str):
    assert f"{line}\n" == yaml(value)


def test_a_list_of_lists_is_a_list_of_lists():
    assert "- - 1\n  - 2\n- - 3\n" == yaml([[1, 2], [3]])


def test_names_are_quoted_where_they_must_be():
    assert re.fullmatch(r'"node:10\.0\.0\.1": 1\.0\n', yaml({"node:10.0.0.1": 1.0}))


def test_json_is_json():
    assert {"a": [1]} == json.loads(written({"a": [1]}, "json"))
