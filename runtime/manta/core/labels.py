"""Labels as users write them: `label_selector={"zone": "in(a, b)"}` and what it means.

A label's key may have a prefix ("example.com/zone"); names and values are those of Kubernetes.
"""

from __future__ import annotations

import re

from manta.core.strategy import IN, NOT_IN, Term

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

_NAME: Final = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?")
_PREFIX: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LIST: Final = re.compile(r"(!?)in\((.*)\)")

#: Longest prefix of a key, characters.
_PREFIX_LIMIT: Final = 253
#: Selectors in one fallback_strategy, and labels in one selector.
_MOST: Final = 64


def wrong_key(key: object) -> str | None:
    """What is wrong with a label's key, if anything."""
    if not isinstance(key, str):
        raise TypeError(f"A label's key must be a string, but received {key!r:.100} of type {type(key)}")
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > _PREFIX_LIMIT or not _PREFIX.fullmatch(prefix)):
        return f"Invalid label key prefix `{prefix:.100}`. It must be a domain name of lower-case letters, digits, '-' and '.'."
    if not _NAME.fullmatch(name):
        return (
            f"Invalid label key name `{name:.100}`. Name must be 63 chars or less beginning and ending with an alphanumeric "
            "character ([a-z0-9A-Z]) with dashes (-), underscores (_), dots (.), and alphanumerics between."
        )
    return None


def wrong_value(value: object) -> str | None:
    """What is wrong with a label's value, if anything; it may be empty."""
    if not isinstance(value, str):
        raise TypeError(f"A label's value must be a string, but received {value!r:.100} of type {type(value)}")
    if value and not _NAME.fullmatch(value):
        return (
            f"Invalid label key value `{value:.100}`. Value must be 63 chars or less beginning and ending with an alphanumeric "
            "character ([a-z0-9A-Z]) with dashes (-), underscores (_), dots (.), and alphanumerics between."
        )
    return None


def parse(selector: Mapping[str, str]) -> tuple[Term, ...]:
    """The terms of a label selector, in the order of its keys.

    Raises:
        TypeError: A key or value is no string.
        ValueError: One is malformed.
    """
    terms = []
    for key, wish in selector.items():
        wrong = wrong_key(key)
        if wrong:
            raise ValueError(wrong)
        if not isinstance(wish, str):
            raise TypeError(
                f"The value of label {key!r} in a label_selector must be a string, but received {type(wish)}"
            )
        several = _LIST.fullmatch(wish.strip())
        if several:
            negated = bool(several[1])
            values = tuple(value.strip().strip("'\"") for value in several[2].split(","))
        else:
            negated = wish.startswith("!")
            values = (wish.removeprefix("!").strip(),)
        for value in values:
            if wrong_value(value) or (several and not value):
                raise ValueError(
                    f"Invalid label selector value `{wish:.100}` for label `{key}`. The label selector value should contain "
                    "optional operators and a label value. Supported operators are: !, in(a,b) and !in(a,b)."
                )
        terms.append(Term(key=key, operator=NOT_IN if negated else IN, values=tuple(sorted(set(values)))))
    return tuple(sorted(terms, key=lambda term: term.key))


def wrong_selector(selector: dict[str, str]) -> str | None:
    """For the table of options."""
    if len(selector) > _MOST:
        return f"label_selector names {len(selector)} labels, at most {_MOST} are allowed"
    parse(selector)
    return None


def wrong_fallback(fallback: Sequence[Any]) -> str | None:
    """For the table of options."""
    if len(fallback) > _MOST:
        return f"fallback_strategy has {len(fallback)} entries, at most {_MOST} are allowed"
    for each in fallback:
        if not isinstance(each, dict):
            raise TypeError(f"fallback_strategy is a list of dicts, but received an entry of type {type(each)}")
        unknown = [name for name in each if name != "label_selector"]
        if unknown:
            return f"fallback_strategy knows 'label_selector' only, got {unknown[0]!r:.100}"
        selector = each.get("label_selector")
        if selector is not None:
            if not isinstance(selector, dict):
                raise TypeError(f"The label_selector of a fallback must be a dict, but received type {type(selector)}")
            parse(selector)
    return None


def selectors(
    selector: Mapping[str, str] | None, fallback: Sequence[Mapping[str, Any]] | None
) -> tuple[tuple[Term, ...], ...]:
    """A selector and its substitutes, in order."""
    first = parse(selector) if selector else ()
    return first, *(parse(each.get("label_selector") or {}) for each in fallback or ())
