"""Values as documents for other programs: JSON, and YAML in blocks as people expect to read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

#: Texts that no reader of YAML takes for anything but a text, reserved words aside.
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
#: What some reader, of YAML 1.1 or 1.2, takes for a truth value or for nothing.
_RESERVED: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def written(value: Any, form: str) -> str:
    """The value with a line's end.

    Args:
        value: What JSON can hold.
        form: "json" or "yaml".
    """
    return json.dumps(value, indent=2) + "\n" if form == "json" else yaml(value)


def yaml(value: Any) -> str:
    """The value as a YAML document. What is not surely a plain text is quoted as JSON does, which YAML reads too."""
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        lines = []
        for name, held in value.items():
            inner = _lines(held)
            if _is_block(held):
                # Lists stand under their name, mappings two further in.
                indent = "" if isinstance(held, (list, tuple)) else "  "
                lines += [f"{_text(str(name))}:", *(indent + line for line in inner)]
            else:
                lines.append(f"{_text(str(name))}: {inner[0]}")
        return lines
    if isinstance(value, (list, tuple)) and value:
        return [("- " if at == 0 else "  ") + line for one in value for at, line in enumerate(_lines(one))]
    return [_text(value) if isinstance(value, str) else json.dumps(value)]


def _is_block(value: Any) -> bool:
    return bool(value) and isinstance(value, (Mapping, list, tuple))


def _text(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED else json.dumps(text)
