"""Makes what follows from the comments in the charts' values.yaml: the schema, and the table in README.md.

`python tools/chart_values.py` writes them; with `--check` it only says which are old, with status 1.

The comment right above a key is its description. Lines in it that begin with @ say more than the default's type does:

- `@schema {...}`: JSON schema, merged over what follows from the default; `free: true` in it allows an object's every key.
- `@spec PATH`: the schema is that of this field of MantaCluster.
- `@each PATH`: a mapping from names to the objects that are a list in this field of MantaCluster.

Keys that are not there are refused, at every level, so that helm names a typo.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHARTS = ("manta-operator", "manta-cluster")
DEFINITION = ROOT / "charts/manta-operator/charts/manta-crds/templates/mantaclusters.yaml"
BEGIN, END = "<!-- values: made by tools/chart_values.py -->", "<!-- end of values -->"
#: Which keys of a definition's schema are JSON schema's own too. `default` is not: the API server fills it in, helm does not.
_KEPT = {
    "type", "enum", "anyOf", "required", "description",
    "minimum", "maximum", "minLength", "maxLength", "maxItems", "maxProperties",
}  # fmt: skip


class ValuesError(Exception):
    """A values.yaml that cannot be explained; the text says which key and why."""


@dataclass(slots=True)
class Value:
    """One key.

    Attributes:
        path: Names from the top.
        default: What it is when nobody says.
        description: The comment's sentences.
        said: What `@schema` says.
        spec: The path after `@spec`; empty for none.
        each: The path after `@each`; empty for none.
        children: Keys below it.
    """

    path: tuple[str, ...]
    default: Any
    description: str
    said: dict[str, Any]
    spec: str = ""
    each: str = ""
    children: list[Value] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As `--set` takes it."""
        return ".".join(part.replace(".", r"\.") for part in self.path)


def read(text: str) -> list[Value]:
    """The keys of a values.yaml."""
    node = yaml.compose(text, yaml.SafeLoader)
    return _read(node, text.splitlines(), ())


def _read(node: yaml.Node | None, lines: list[str], above: tuple[str, ...]) -> list[Value]:
    if not isinstance(node, yaml.MappingNode):
        return []
    found = []
    for key, inner in node.value:
        path = (*above, str(key.value))
        value = _with_comment(path, _plain(inner), _comment(lines, key.start_mark.line, key.start_mark.column))
        value.children = _read(inner, lines, path)
        if not value.description and not value.children:
            raise ValuesError(f"{value.name} has no comment")
        found.append(value)
    return found


def _plain(node: yaml.Node) -> Any:
    return yaml.SafeLoader("").construct_object(node, deep=True)


def _comment(lines: list[str], line: int, column: int) -> list[str]:
    """The lines of the comment right above, without their hashes."""
    begin = f"{' ' * column}#"
    found: list[str] = []
    while line > 0 and lines[line - 1].startswith(begin):
        line -= 1
        found.insert(0, lines[line][len(begin) :].strip())
    return found


def _with_comment(path: tuple[str, ...], default: Any, comment: list[str]) -> Value:
    value = Value(path, default, " ".join(line for line in comment if not line.startswith("@")), {})
    for line in comment:
        if not line.startswith("@"):
            continue
        word, _, rest = line[1:].partition(" ")
        if word == "schema":
            value.said |= yaml.safe_load(rest)
        elif word in ("spec", "each"):
            setattr(value, word, rest.strip())
        else:
            raise ValuesError(f"{value.name}: its comment has @{word}, which means nothing here")
    return value


# --- the schema ---


def spec_of(definition: str) -> dict[str, Any]:
    """The schema of MantaCluster's spec, as its definition has it."""
    [version] = yaml.safe_load(definition)["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def schema_of(values: list[Value], spec: dict[str, Any], title: str) -> dict[str, Any]:
    """The schema of a whole values.yaml."""
    properties = {value.path[-1]: _schema(value, spec) for value in values}
    # Helm hands `global` to a chart that is part of another one.
    properties["global"] = {"type": "object", "description": "Values that a chart around this one shares."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _schema(value: Value, spec: dict[str, Any]) -> dict[str, Any]:
    described = {"description": value.description} if value.description else {}
    if value.each:
        return {**_each(_strict(_found(spec, value.each))), **described}
    if value.spec:
        schema = {**_strict(_found(spec, value.spec)), **described}
        if value.default == "" and schema.get("minLength"):
            schema["minLength"] = 0  # empty: not said
        return schema
    if value.children:
        return {
            **described,
            "type": "object",
            "additionalProperties": False,
            "properties": {child.path[-1]: _schema(child, spec) for child in value.children},
            **value.said,
        }
    said = dict(value.said)
    free = said.pop("free", False)
    schema = {**described, **_type(value, said), **said}
    if schema["type"] == "object" and not free and "additionalProperties" not in schema:
        raise ValuesError(f"{value.name}: an object without keys needs a @schema that says which it may have")
    if schema["type"] == "array" and "items" not in schema:
        raise ValuesError(f"{value.name}: a list needs a @schema with its items")
    return schema


def _type(value: Value, said: dict[str, Any]) -> dict[str, Any]:
    if "type" in said:
        return {}
    for kind, name in ((bool, "boolean"), (int, "integer"), (str, "string"), (list, "array"), (dict, "object")):
        if isinstance(value.default, kind):
            return {"type": name}
    raise ValuesError(f"{value.name}: its default does not say its type; add a @schema that does")


def _found(spec: dict[str, Any], path: str) -> dict[str, Any]:
    found = spec
    for name in path.split("."):
        try:
            found = found["properties"][name]
        except KeyError:
            raise ValuesError(f"MantaCluster's spec has no {path}") from None
    return found


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A definition's schema as JSON schema in which nothing else is allowed."""
    kept = {name: inner for name, inner in schema.items() if name in _KEPT}
    if "properties" in schema:
        # What is not built yet has a rule against it in the API server; here it is not there at all.
        kept["properties"] = {name: _strict(inner) for name, inner in schema["properties"].items()}
        kept["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        kept["items"] = _strict(schema["items"])
    return kept


def _each(listed: dict[str, Any]) -> dict[str, Any]:
    item = dict(listed["items"])
    key = dict(item["properties"])
    name = key.pop("name")
    item["properties"] = key
    item["required"] = [one for one in item.get("required", []) if one != "name"]
    names = {"pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": name["maxLength"]}
    return {
        "type": "object",
        "maxProperties": listed["maxItems"],
        "propertyNames": names,
        "additionalProperties": item,
    }


# --- the table ---


def table_of(values: list[Value]) -> str:
    """Rows for README.md, in the order of the file."""
    rows = ["| Value | Default | What it is |", "|---|---|---|"]
    for value in _leaves(values):
        default = json.dumps(value.default, ensure_ascii=False)
        rows.append(f"| `{value.name}` | `{default}` | {value.description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def _leaves(values: list[Value]) -> list[Value]:
    """Those that have a default of their own, and those above them that have something to say."""
    found: list[Value] = []
    for value in values:
        if not value.children:
            found.append(value)
            continue
        if value.description:
            found.append(Value(value.path, _brief(value.default), value.description, {}))
        found += _leaves(value.children)
    return found


def _brief(default: Any) -> Any:
    return "see below" if isinstance(default, dict) else default


def with_table(readme: str, table: str) -> str:
    """A README with this table between the marks."""
    pattern = re.compile(rf"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(readme):
        raise ValuesError(f"README.md has no place for the table: a line {BEGIN} and a line {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n{table}\n{END}", readme)


def files_of(chart: Path) -> dict[Path, str]:
    """What should be in a chart's made files."""
    values = read((chart / "values.yaml").read_text())
    schema = schema_of(values, spec_of(DEFINITION.read_text()), f"Values of {chart.name}")
    if (chart / "charts").exists():
        # Values for a chart within this one.
        for inner in sorted((chart / "charts").iterdir()):
            schema["properties"][inner.name] = {"type": "object", "description": f"Values of {inner.name}: none."}
    readme = chart / "README.md"
    return {
        chart / "values.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n",
        readme: with_table(readme.read_text(), table_of(values)),
    }


def main() -> int:
    """Write the files, or say which are old."""
    check = sys.argv[1:] == ["--check"]
    old = 0
    for name in CHARTS:
        for path, content in files_of(ROOT / "charts" / name).items():
            if path.exists() and path.read_text() == content:
                continue
            print(f"{path.relative_to(ROOT)} {'is old' if check else 'written'}")
            old += 1
            if not check:
                path.write_text(content)
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
