"""Every value is explained, once; schema and README are made from that."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.charts.rendering import CHARTS
from tools import chart_values

SPEC = {
    "type": "object",
    "properties": {
        "size": {"type": "string", "minLength": 1, "default": "1Gi", "x-kubernetes-validations": [{"rule": "x"}]},
        "groups": {
            "type": "array",
            "maxItems": 3,
            "items": {
                "type": "object",
                "required": ["name", "size"],
                "properties": {"name": {"type": "string", "maxLength": 9}, "size": {"type": "string"}},
            },
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def schema(text):
    return chart_values.schema_of(chart_values.read(text), SPEC, "t")["properties"]


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_what_is_made_from_the_values_is_up_to_date(chart):
    """`python tools/chart_values.py` writes it anew."""
    assert [str(path) for path, content in chart_values.files_of(chart).items() if path.read_text() != content] == []


def test_types_and_descriptions_follow_from_defaults_and_comments():
    found = schema("# A section.\n\n# One.\n# Two.\na: 1\nb:\n  # Three.\n  # @schema {enum: [x, y]}\n  c: x\n")

    assert found["a"] == {"description": "One. Two.", "type": "integer"}
    assert found["b"] == {
        "type": "object",
        "additionalProperties": False,
        "properties": {"c": {"description": "Three.", "type": "string", "enum": ["x", "y"]}},
    }


def test_a_field_of_the_spec_has_the_definitions_bounds_and_may_be_empty():
    found = schema('# How large.\n# @spec size\nsize: ""\n# Whatever.\n# @spec free\nfree: {}\n')

    assert found["size"] == {"description": "How large.", "type": "string", "minLength": 0}
    assert found["free"] == {"description": "Whatever.", "type": "object"}


def test_a_mapping_by_name_stands_for_a_list_in_the_spec():
    found = schema("# Groups.\n# @each groups\ngroups:\n  # One.\n  one:\n    # How large.\n    size: 1Gi\n")["groups"]

    assert found["maxProperties"] == 3
    assert found["propertyNames"]["maxLength"] == 9
    assert found["additionalProperties"] == {
        "type": "object",
        "required": ["size"],
        "properties": {"size": {"type": "string"}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\n", "a has no comment"),
        ("# A.\na: {}\n", "a: an object without keys needs a @schema"),
        ("# A.\na: []\n", "a: a list needs a @schema"),
        ("# A.\na:\n", "a: its default does not say its type"),
        ("# A.\n# @spec no.such\na: 1\n", "MantaCluster's spec has no no.such"),
        ("# A.\n# @shema {}\na: 1\n", "a: its comment has @shema, which means nothing here"),
    ],
)
def test_values_that_are_not_explained_are_errors(text, words):
    with pytest.raises(chart_values.ValuesError, match=re.escape(words)):
        schema(text)


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_every_value_is_used(chart):
    """What is in values.yaml and in no template does nothing, and would look as if it did."""
    templates = "\n".join(path.read_text() for path in (chart / "templates").iterdir())
    used_otherwise = {dependency["condition"] for dependency in _chart(chart).get("dependencies", [])}
    unused = []

    def look(values):
        for value in values:
            if value.each or value.name in used_otherwise:
                continue
            if value.children and not re.search(rf"toYaml [.$\w]*\.{value.path[-1]}\b", templates):
                look(value.children)
            elif not re.search(rf"\.{re.escape(value.path[-1])}\b", templates):
                unused.append(value.name)

    look(chart_values.read((chart / "values.yaml").read_text()))
    assert unused == []


def test_every_field_of_a_cluster_can_be_said():
    """But for those that are not built yet. A new field of the spec is a new value of the chart."""
    said = set()

    def look(values):
        for value in values:
            said.update(filter(None, (value.spec, value.each)))
            look(value.children)

    def missing(schema, path=()):
        name = ".".join(path)
        if name in said or name == "image":  # the chart puts it together
            return []
        refused = [
            rule["message"].split()[0]
            for rule in schema.get("x-kubernetes-validations", ())
            if "not built" in rule["message"]
        ]
        inner = {field: one for field, one in schema.get("properties", {}).items() if field not in refused}
        return [one for field, found in inner.items() for one in missing(found, (*path, field))] if inner else [name]

    look(chart_values.read((CHARTS["manta-cluster"] / "values.yaml").read_text()))
    assert missing(chart_values.spec_of(chart_values.DEFINITION.read_text())) == []


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_versions_are_one(chart):
    """Charts, their parts, the operator and the runtime are released together."""
    from manta.version import __version__

    about = _chart(chart)
    assert about["appVersion"] == __version__
    assert about["version"] == __version__.replace(".dev", "-dev.")
    for part in about.get("dependencies", []):
        inner = _chart(chart / "charts" / part["name"])
        assert (inner["version"], inner["appVersion"]) == (part["version"], __version__)
        assert inner["version"] == about["version"]
    for example in re.findall(r"image: (\S+)", "\n".join(about["annotations"].values())):
        assert example.split(":")[1].startswith(f"{__version__}-py3.")


def _chart(folder):
    return yaml.safe_load((folder / "Chart.yaml").read_text())
