"""The definitions (CRDs) that charts ship are those that the types say, and they are small and explained."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import manta.version
import manta_operator.version
from manta_operator.api.definitions import ALL, as_yaml, file_of

ROOT = Path(__file__).resolve().parents[3]


def schemas(schema, path=""):
    """Every schema within one, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    for inside in ("items", "additionalProperties"):
        if isinstance(schema.get(inside), dict):
            yield from schemas(schema[inside], f"{path}[]")


def schema_of(definition):
    """The whole schema, as its file has it."""
    [version] = yaml.safe_load(as_yaml(definition))["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.kind)
def test_the_file_is_up_to_date(definition):
    """`python -m manta_operator.api` writes it anew."""
    assert file_of(definition, ROOT).read_text() == as_yaml(definition)


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.kind)
def test_a_definition_fits_where_kubectl_apply_remembers_it(definition):
    """Less than 100 KB: `kubectl apply` keeps the whole object in an annotation of at most 256 KB."""
    assert len(as_yaml(definition).encode()) < 100_000


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.kind)
def test_every_field_is_explained_and_bounded(definition):
    """`kubectl explain` has words for it, and no text, list or mapping of a spec is without end."""
    whole = schema_of(definition)
    for path, schema in schemas(whole):
        if not path or path == ".metadata":
            continue
        assert path.endswith("[]") or schema.get("description", "").endswith("."), path
        if not path.startswith((".spec", ".status")):
            continue
        if schema.get("type") == "string" and "enum" not in schema:
            assert "maxLength" in schema, path
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.kind)
def test_rules_speak_to_people(definition):
    """Each says what is wrong, and never that a rule failed."""
    for path, schema in schemas(schema_of(definition)):
        for rule in schema.get("x-kubernetes-validations", []):
            assert " " in rule["message"], path
            assert "self" not in rule["message"], path


def test_the_operator_has_the_runtimes_version():
    """They are released together."""
    assert manta_operator.version.__version__ == manta.version.__version__
